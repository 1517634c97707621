// The door for isolated runs: one Unix socket for all the ways in. A connection's first line, written by the run's relay, says
// which way is meant; who is there the kernel says (SO_PEERCRED), so the line is no claim of anything.
import type { Socket } from 'node:net'
import type { Limits } from '../model/limits.ts'

export interface Ways {
  readonly proxy: (socket: Socket) => void
  readonly baseUrl: (socket: Socket) => void
  readonly transparent: (socket: Socket, port: number) => void
}

/** `proxy`, `base-url`, or `transparent PORT`. What is none of them is cut: it is no relay of ours. */
export function insideDoor(ways: Ways, limits: Limits): (socket: Socket) => void {
  return (socket) => {
    let bytes = Buffer.alloc(0)
    const late = setTimeout(() => socket.destroy(), limits.handshakeMs)
    const over = (): void => {
      clearTimeout(late)
      socket.off('data', more)
      socket.off('close', over)
    }
    const more = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk])
      const end = bytes.subarray(0, limits.insideLineBytesMax).indexOf(10)
      if (end < 0) {
        if (bytes.length >= limits.insideLineBytesMax) socket.destroy()
        return
      }
      over()
      socket.pause()
      if (bytes.length > end + 1) socket.unshift(bytes.subarray(end + 1))
      const line = bytes.toString('latin1', 0, end)
      const port = Number(/^transparent ([1-9]\d{0,4})$/.exec(line)?.[1] ?? 0)
      if (port > 0 && port <= 65_535) return ways.transparent(socket, port)
      if (line === 'proxy') ways.proxy(socket)
      else if (line === 'base-url') ways.baseUrl(socket)
      else return void socket.destroy()
      socket.resume()
    }
    socket.on('data', more)
    socket.once('close', over)
  }
}
