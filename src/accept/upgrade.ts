// Is a request a sound opening of a WebSocket (RFC 6455 §4.2.1)? Every other upgrade is refused: what follows a switch that we do
// not read would pass unseen.
import type { RequestMessage } from '../http/read-head.ts'
import { Refusal } from '../model/refusal.ts'

/** Throws Refusal accept.upgrade. The reader made sure of HTTP/1.1. */
export function checkUpgrade(head: RequestMessage): void {
  const wrong = wrongWith(head)
  if (wrong !== null) throw new Refusal('accept.upgrade', wrong)
}

function wrongWith(head: RequestMessage): string | null {
  if (head.get('upgrade')?.toLowerCase() !== 'websocket') return 'not to websocket alone'
  if (head.method !== 'GET') return 'not by GET'
  if (!head.connectionNames.includes('upgrade') || !head.keepAlive) return 'Connection does not name it'
  if (head.framing.kind !== 'none' || head.expectContinue) return 'with a body'
  // Joined by ", " where they stand twice, so that neither is sound then.
  if (head.get('sec-websocket-version') !== '13') return 'Sec-WebSocket-Version is not 13'
  const key = head.get('sec-websocket-key') ?? ''
  // Sixteen bytes, in the one spelling that base64 has for them (RFC 4648 §3.5).
  if (key.length !== 24 || Buffer.from(key, 'base64').toString('base64') !== key) return 'Sec-WebSocket-Key is not 16 bytes in base64'
  const offered = head.get('sec-websocket-protocol')
  if (offered !== undefined && !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*$/.test(offered))
    return 'Sec-WebSocket-Protocol is no list of tokens'
  return null
}
