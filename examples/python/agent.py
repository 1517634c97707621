"""An agent with the official Python SDKs of three vendors and no key: `ostiary run -- python agent.py`."""

import anthropic
import openai
from google import genai

client = openai.OpenAI(max_retries=0)
print("openai:", client.responses.create(model="gpt-5", input="Say hello.").output_text)
text = ""
for event in client.responses.create(model="gpt-5", input="Say hello.", stream=True):
    if event.type == "response.output_text.delta":
        text += event.delta
print("openai streaming:", text)

messages = [{"role": "user", "content": "Say hello."}]
claude = anthropic.Anthropic(max_retries=0)
answer = claude.messages.create(model="claude-sonnet-4-5", max_tokens=64, messages=messages)
print("anthropic:", answer.content[0].text)
with claude.messages.stream(model="claude-sonnet-4-5", max_tokens=64, messages=messages) as stream:
    print("anthropic streaming:", "".join(stream.text_stream))

gemini = genai.Client()
print("gemini:", gemini.models.generate_content(model="gemini-2.5-flash", contents="Say hello.").text)
parts = gemini.models.generate_content_stream(model="gemini-2.5-flash", contents="Say hello.")
print("gemini streaming:", "".join(part.text or "" for part in parts))
