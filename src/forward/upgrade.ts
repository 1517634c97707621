// Is a 101 the answer to the WebSocket that was asked for (RFC 6455 §4.1)? What is switched to otherwise, nobody here could read.
import { createHash } from 'node:crypto'
import type { ResponseMessage } from '../http/read-head.ts'
import type { Edits, RequestHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'

const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Throws Refusal forward.bad_answer. `edits` say which subprotocols were offered. */
export function checkSwitch(answer: ResponseMessage, asked: RequestHead, edits: Edits): void {
  const wrong = wrongWith(answer, asked, edits)
  if (wrong !== null) throw new Refusal('forward.bad_answer', `status 101: ${wrong}`)
}

function wrongWith(answer: ResponseMessage, asked: RequestHead, edits: Edits): string | null {
  if (answer.get('upgrade')?.toLowerCase() !== 'websocket') return 'Upgrade is not websocket'
  if (!answer.connectionNames.includes('upgrade')) return 'Connection does not name Upgrade'
  const key = asked.get('sec-websocket-key') ?? ''
  const accept = createHash('sha1').update(`${key}${acceptGuid}`).digest('base64')
  if (answer.get('sec-websocket-accept') !== accept) return 'Sec-WebSocket-Accept does not fit'
  if (answer.get('sec-websocket-extensions') !== undefined) return 'an extension that was not offered'
  const chosen = answer.get('sec-websocket-protocol')
  if (chosen === undefined) return null
  const offered =
    edits.set
      .find(([name]) => name === 'Sec-WebSocket-Protocol')?.[1]
      .toString('latin1')
      .split(', ') ?? []
  return offered.includes(chosen) ? null : 'a subprotocol that was not offered'
}
