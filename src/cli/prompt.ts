// A line typed at the terminal and shown nowhere. Raw mode, so that no echo, history or line editor sees it.
import { WrongUse } from './print.ts'

const enter = 0x0d
const newline = 0x0a
const interrupt = 3
const endOfInput = 4
const backspace = 8
const killLine = 0x15
const escapeByte = 0x1b
const rubout = 0x7f

/** Bytes of the line, at most bytesMax; throws WrongUse when it is cancelled. The caller wipes it. */
export function typedLine(prompt: string, bytesMax: number): Promise<Buffer> {
  const { stdin, stderr } = process
  // Before the prompt: who answers at once must not see it echoed.
  stdin.setRawMode(true)
  stdin.resume()
  stderr.write(prompt)
  return new Promise((resolve, reject) => {
    const bytes = Buffer.alloc(bytesMax)
    let size = 0
    const finish = (work: () => void): void => {
      stdin.off('data', take)
      stdin.off('end', ended)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write('\n')
      work()
      bytes.fill(0)
    }
    const done = (): void => finish(() => resolve(Buffer.from(bytes.subarray(0, size))))
    const cancelled = (): void => finish(() => reject(new WrongUse('cancelled: nothing was changed')))
    const ended = (): void => (size > 0 ? done() : cancelled())
    const take = (chunk: Buffer): void => {
      // An arrow key, or a paste that the terminal brackets: neither is part of a key.
      const text = chunk[0] === escapeByte ? unbracketed(chunk) : chunk
      for (const byte of text) {
        if (byte === enter || byte === newline) return done()
        if (byte === interrupt) return cancelled()
        if (byte === endOfInput) return ended()
        if (byte === killLine) size = 0
        else if (byte === rubout || byte === backspace) size = previous(bytes, size)
        else if (size < bytesMax) bytes[size++] = byte
      }
    }
    stdin.on('data', take)
    stdin.on('end', ended)
  })
}

/** Start of the last character (UTF-8). */
function previous(bytes: Buffer, size: number): number {
  let at = Math.max(0, size - 1)
  while (at > 0 && ((bytes[at] as number) & 0xc0) === 0x80) at--
  return at
}

function unbracketed(chunk: Buffer): Buffer {
  const text = chunk.toString('latin1')
  const pasted = /^\x1b\[200~([\s\S]*?)(?:\x1b\[201~)?$/.exec(text)
  return Buffer.from(pasted?.[1] ?? '', 'latin1')
}
