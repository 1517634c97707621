// What the stand-in vendors say: answers and events in each vendor's own form.

export const event = (json: unknown): string => `data: ${JSON.stringify(json)}\n\n`
const named = (json: { type: string }): string => `event: ${json.type}\n${event(json)}`

export function chatAnswer(json: Record<string, unknown>): unknown {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: json['model'],
    choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'Hello from OpenAI', refusal: null } }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  }
}

export function chatEvents(json: Record<string, unknown>): string[] {
  const chunk = (delta: unknown, end: string | null) =>
    event({
      id: 'chatcmpl-1',
      object: 'chat.completion.chunk',
      created: 1,
      model: json['model'],
      choices: [{ index: 0, delta, finish_reason: end }],
    })
  return [
    chunk({ role: 'assistant', content: '' }, null),
    chunk({ content: 'Hello ' }, null),
    chunk({ content: 'from OpenAI' }, null),
    chunk({}, 'stop'),
    'data: [DONE]\n\n',
  ]
}

export function responseAnswer(json: Record<string, unknown>): Record<string, unknown> {
  const output = [
    {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'Hello from OpenAI', annotations: [] }],
    },
  ]
  return {
    id: 'resp_1',
    object: 'response',
    created_at: 1,
    status: 'completed',
    model: json['model'],
    output,
    parallel_tool_calls: true,
    tool_choice: 'auto',
    tools: [],
    usage: {
      input_tokens: 1,
      output_tokens: 1,
      total_tokens: 2,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens_details: { reasoning_tokens: 0 },
    },
  }
}

export function responseEvents(json: Record<string, unknown>): string[] {
  const response = responseAnswer(json)
  const delta = (text: string, n: number) =>
    named({ type: 'response.output_text.delta', sequence_number: n, item_id: 'msg_1', output_index: 0, content_index: 0, delta: text } as {
      type: string
    })
  return [
    named({ type: 'response.created', sequence_number: 0, response: { ...response, status: 'in_progress', output: [] } } as {
      type: string
    }),
    delta('Hello ', 1),
    delta('from OpenAI', 2),
    named({ type: 'response.completed', sequence_number: 3, response } as { type: string }),
  ]
}

export function messageAnswer(json: Record<string, unknown>): unknown {
  return {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: json['model'],
    content: [{ type: 'text', text: 'Hello from Anthropic' }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: { input_tokens: 1, output_tokens: 1 },
  }
}

export function messageEvents(json: Record<string, unknown>): string[] {
  return [
    {
      type: 'message_start',
      message: {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model: json['model'],
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 1, output_tokens: 0 },
      },
    },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hello ' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'from Anthropic' } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 2 } },
    { type: 'message_stop' },
  ].map(named)
}
