// Words out: tables of 80 columns, quiet colours, outside text escaped (invariant 16).
import { styleText } from 'node:util'

export interface Output {
  readonly json: boolean
  line(text?: string): void
  value(json: unknown, human: () => void): void
  problem(text: string): void
}

export function createOutput(json: boolean): Output {
  const line = (text = ''): void => void process.stdout.write(`${text}\n`)
  return {
    json,
    line,
    value: (value, human) => (json ? line(JSON.stringify(value, null, 2)) : human()),
    problem: (text) => void process.stderr.write(`${paint('red', 'ostiary:')} ${text}\n`),
  }
}

export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout })
}

/** Outside text never moves the cursor or changes the direction of reading. */
export function printable(value: unknown): string {
  return String(value ?? '').replace(
    /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The last column is cut to the width; the others are as wide as they must be. */
export function table(
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
  width = process.stdout.columns ?? 80,
): readonly string[] {
  const texts = [head, ...rows.map((row) => row.map(printable))]
  const widths = head.map((_, at) => Math.max(...texts.map((row) => String(row[at] ?? '').length)))
  return texts.map((row, at) => {
    const text = row.map((cell, column) => String(cell).padEnd(column === row.length - 1 ? 0 : (widths[column] as number))).join('  ')
    const cut = process.stdout.isTTY && text.length > width ? `${text.slice(0, width - 1)}…` : text
    return at === 0 ? paint('dim', cut) : cut
  })
}
