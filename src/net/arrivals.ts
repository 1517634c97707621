// What a socket receives, straight to who reads it. It must never reorder: what is buffered, paused or ended goes Node's own way.
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'

const nothing = Buffer.alloc(0)

/**
 * As `socket.on('data', take)`, and while the socket flows and has nothing buffered, without the stream machinery in between: Node
 * schedules a tick after every chunk to ask whether it may read more, of a socket that always may (3 % of a request's CPU).
 * `push` is what the socket's handle calls with each chunk. Returns what undoes it.
 */
export function hear(socket: Socket, take: (chunk: Buffer) => void): () => void {
  const { push } = Readable.prototype
  socket.on('data', take)
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null || socket.readableFlowing !== true || socket.readableLength > 0) return push.call(socket, chunk, encoding)
    take(chunk)
    // Paused meanwhile: the stream must know that its read is over, or it would never begin another.
    return socket.readableFlowing === true || push.call(socket, nothing)
  }
  return () => {
    socket.off('data', take)
    socket.push = push
  }
}
