// Words out: tables of 80 columns, quiet colours, outside text escaped (invariant 16).
import { once } from 'node:events'
import { styleText } from 'node:util'

export interface Output {
  readonly json: boolean
  line(text?: string): void
  /** Waits for a reader that is slower than the writer. */
  drained(): Promise<void>
  value(json: unknown, human: () => void): void
  problem(text: string): void
}

/** Wrong use of the command line; exit code 2. */
export class WrongUse extends Error {
  constructor(says: string) {
    super(says)
    this.name = 'WrongUse'
  }
}

export function createOutput(json: boolean): Output {
  const line = (text = ''): void => void process.stdout.write(`${text}\n`)
  return {
    json,
    line,
    drained: async () => void (process.stdout.writableNeedDrain && (await once(process.stdout, 'drain'))),
    value: (value, human) => (json ? line(jsonText(value, 2)) : human()),
    problem: (text) => void process.stderr.write(`${styleText('red', 'ostiary:', { stream: process.stderr })} ${printableLines(text)}\n`),
  }
}

export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout })
}

/** The same for JSON, which leaves C1 controls and marks of direction as they are: written as escapes, it reads the same. */
export function jsonText(value: unknown, indent = 0): string {
  return JSON.stringify(value, null, indent).replace(unprintable, (char) => (char === '\n' ? char : units(char)))
}

function units(char: string): string {
  let out = ''
  for (let at = 0; at < char.length; at++) out += `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`
  return out
}

const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\u115f\u1160\u3164\uffa0]/gu

/** Outside text never moves the cursor or changes the direction of reading. */
export function printable(value: unknown): string {
  return String(value ?? '').replace(unprintable, (char) => {
    const code = (char.codePointAt(0) as number).toString(16)
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\u{${code}}`
  })
}

/** Our own sentences may have several lines; what stands in them may do nothing else. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/** The last column is cut to the width; the others are as wide as they must be. */
export function table(
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
  width = process.stdout.columns ?? 80,
): readonly string[] {
  const texts = [head, ...rows.map((row) => row.map((cell) => printable(cell)))]
  const widths = head.map((_, at) => Math.max(...texts.map((row) => String(row[at] ?? '').length)))
  return texts.map((row, at) => {
    const text = row.map((cell, column) => String(cell).padEnd(column === row.length - 1 ? 0 : (widths[column] as number))).join('  ')
    const cut = process.stdout.isTTY && text.length > width ? `${text.slice(0, width - 1)}…` : text
    return at === 0 ? paint('dim', cut) : cut
  })
}
