"""Clients of Python, unmodified: one function each, which asks its vendor once and prints the answer.

Run as `python python.py NAME`; BASE, where it is set, is the base URL of the vendor's service.
"""
import asyncio
import json
import os
import sys

URL = 'https://api.openai.com/v1/responses'
ASKED = {'model': 'gpt-5', 'input': 'hi'}
KEY = os.environ.get('OPENAI_API_KEY', '')
HEADERS = {'Authorization': f'Bearer {KEY}', 'Content-Type': 'application/json'}
TALK = [{'role': 'user', 'content': 'hi'}]


def urllib_():
    from urllib.request import Request, urlopen
    return urlopen(Request(URL, json.dumps(ASKED).encode(), HEADERS)).read().decode()


def requests_():
    import requests
    return requests.post(URL, json=ASKED, headers=HEADERS).text


def httpx_():
    import httpx
    return httpx.post(URL, json=ASKED, headers=HEADERS).text


def urllib3_():
    import urllib3
    return urllib3.PoolManager(retries=False).request('POST', URL, json=ASKED, headers=HEADERS).data.decode()


def aiohttp_(**more):
    import aiohttp

    async def ask():
        async with aiohttp.ClientSession(**more) as session:
            async with session.post(URL, json=ASKED, headers=HEADERS) as answer:
                return await answer.text()
    return asyncio.run(ask())


def websockets_():
    from websockets.sync.client import connect
    with connect('wss://api.openai.com/v1/realtime?model=gpt-realtime', additional_headers={'Authorization': f'Bearer {KEY}'}) as socket:
        socket.send('{"type":"response.create"}')
        for text in socket:
            if 'response.done' in text:
                return 'Hello from OpenAI'


def openai_():
    from openai import OpenAI
    return OpenAI(max_retries=0).responses.create(**ASKED).output_text


def openai_realtime():
    from openai import OpenAI
    with OpenAI().realtime.connect(model='gpt-realtime') as connection:
        connection.send({'type': 'response.create'})
        for event in connection:
            if event.type == 'response.output_text.delta':
                return event.delta


def anthropic_():
    from anthropic import Anthropic
    return Anthropic(max_retries=0).messages.create(model='claude-sonnet-4-5', max_tokens=64, messages=TALK).content[0].text


def genai_():
    from google import genai
    client = genai.Client()  # held: one that nobody holds closes itself
    return client.models.generate_content(model='gemini-2.5-flash', contents='hi').text


def genai_async():
    from google import genai

    async def ask():
        return (await genai.Client().aio.models.generate_content(model='gemini-2.5-flash', contents='hi')).text
    return asyncio.run(ask())


def genai_live():
    from google import genai

    async def ask():
        async with genai.Client().aio.live.connect(model='gemini-live-2.5', config={'response_modalities': ['TEXT']}) as session:
            await session.send_client_content(turns={'role': 'user', 'parts': [{'text': 'hi'}]}, turn_complete=True)
            async for message in session.receive():
                if message.server_content and message.server_content.model_turn:
                    return message.server_content.model_turn.parts[0].text
    return asyncio.run(ask())


def langchain_openai_():
    from langchain_openai import ChatOpenAI
    return ChatOpenAI(model='gpt-5', max_retries=0).invoke('hi').text


def langchain_anthropic_():
    from langchain_anthropic import ChatAnthropic
    return ChatAnthropic(model='claude-sonnet-4-5', max_retries=0).invoke('hi').text


def litellm_():
    import litellm
    return litellm.completion(model='openai/gpt-5', messages=TALK, num_retries=0).choices[0].message.content


def litellm_async():
    import litellm
    asked = litellm.acompletion(model='anthropic/claude-sonnet-4-5', messages=TALK, max_tokens=64, num_retries=0)
    return asyncio.run(asked).choices[0].message.content


def converse(region):
    import boto3
    from botocore.config import Config
    client = boto3.client('bedrock-runtime', region_name=region, config=Config(retries={'total_max_attempts': 1}))
    messages = [{'role': 'user', 'content': [{'text': 'hi'}]}]
    return client.converse(modelId='amazon.nova-lite-v1:0', messages=messages)['output']['message']['content'][0]['text']


def bedrock():
    return converse('us-east-1')


def bedrock_signed():
    # Else boto3 takes it instead of signing.
    del os.environ['AWS_BEARER_TOKEN_BEDROCK']
    return converse('eu-central-1')


def sts():
    import boto3
    from botocore.config import Config
    once = Config(retries={'total_max_attempts': 1})
    return boto3.client('sts', region_name='us-east-1', config=once).get_caller_identity()['Account']


def s3():
    import io
    import boto3
    from botocore.config import Config
    client = boto3.client('s3', region_name='eu-central-1', config=Config(retries={'total_max_attempts': 1}))
    client.put_object(Bucket='a-bucket', Key='a folder/b+c.txt', Body=b'some bytes', Metadata={'a': 'b  c'})
    client.upload_fileobj(io.BytesIO(b'x' * 100_000), 'a-bucket', 'streamed')
    return client.get_object(Bucket='a-bucket', Key='a folder/b+c.txt')['Body'].read().decode()


def stripe_(bundle=None):
    import stripe
    if bundle is not None:
        stripe.ca_bundle_path = bundle
    balance = stripe.StripeClient(os.environ['STRIPE_API_KEY'], max_network_retries=0).v1.balance.retrieve()
    return f'{balance.object} {balance.available[0].amount}'


def slack():
    from slack_sdk import WebClient
    return WebClient(os.environ['SLACK_BOT_TOKEN']).auth_test()['user']


CLIENTS = {
    'urllib': urllib_, 'requests': requests_, 'httpx': httpx_, 'urllib3': urllib3_, 'aiohttp': aiohttp_,
    'aiohttp (trust_env)': lambda: aiohttp_(trust_env=True), 'websockets': websockets_,
    'openai': openai_, 'openai realtime': openai_realtime, 'anthropic': anthropic_,
    'genai': genai_, 'genai async': genai_async, 'genai live': genai_live,
    'langchain (openai)': langchain_openai_, 'langchain (anthropic)': langchain_anthropic_,
    'litellm': litellm_, 'litellm async': litellm_async, 'bedrock': bedrock,
    'bedrock signed': bedrock_signed, 'sts': sts, 's3': s3, 'stripe': stripe_,
    'stripe (ca_bundle_path)': lambda: stripe_(os.environ['SSL_CERT_FILE']), 'slack': slack,
}

print(CLIENTS[sys.argv[1]]())
