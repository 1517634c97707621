// A tiny MCP server over stdio with one tool, `tell`: it says what an MCP server that an agent starts finds in its environment.
// It answers every revision of the protocol with the revision that it was asked for, and knows no other tool.
import { createInterface } from 'node:readline'

const tool = {
  name: 'tell',
  description: 'Says in which run this server finds itself',
  inputSchema: { type: 'object', properties: {}, additionalProperties: false },
  annotations: { readOnlyHint: true, openWorldHint: false, destructiveHint: false },
}

/** Whether a call of the server's own would go through Ostiary, told by one that is made: the answer's status. */
async function ownCall(): Promise<string> {
  const answer = await fetch('https://api.github.com/user', { headers: { authorization: `Bearer ${process.env['GH_TOKEN']}` } }).catch(
    (error: unknown) => error,
  )
  return answer instanceof Response ? String(answer.status) : String((answer as { cause?: unknown }).cause ?? answer)
}

async function answer(method: string, params: Readonly<Record<string, unknown>>): Promise<unknown> {
  if (method === 'initialize')
    return { protocolVersion: params['protocolVersion'], capabilities: { tools: {} }, serverInfo: { name: 'tiny', version: '1.0.0' } }
  if (method === 'tools/list') return { tools: [tool] }
  if (method === 'tools/call')
    return { content: [{ type: 'text', text: `workload ${process.env['OSTIARY_WORKLOAD'] ?? 'unknown'}, own call ${await ownCall()}` }] }
  if (method === 'ping') return {}
  return undefined
}

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const { id, method, params = {} } = JSON.parse(line)
    if (id === undefined) return
    const result = await answer(method, params)
    const said = result === undefined ? { error: { code: -32601, message: `no ${method} here` } } : { result }
    process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...said })}\n`)
  })
  .on('close', () => process.exit(0))
