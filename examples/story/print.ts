// What the story prints: 80 columns, quiet colours, and every line counted.
import { styleText } from 'node:util'

export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly says: string
  readonly about?: Readonly<Record<string, unknown>>
}

export interface Printer {
  readonly checks: Check[]
  title(text: string): void
  detail(name: string, value: string): void
  check(name: string, ok: boolean, says: string, about?: Readonly<Record<string, unknown>>): void
  progress(text: string): void
}

const width = 80

export function createPrinter(json: boolean): Printer {
  const checks: Check[] = []
  const out = (text: string): void => void (json || process.stdout.write(`${text}\n`))
  const paint = (style: Parameters<typeof styleText>[0], text: string): string => styleText(style, text, { stream: process.stdout })
  const clear = (): void => {
    if (!json && process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  }
  return {
    checks,
    title: (text) => {
      clear()
      out(`\n${paint('bold', text)}`)
    },
    detail: (name, value) => {
      for (const [at, line] of wrap(printable(value), width - 16).entries())
        out(`  ${paint('dim', (at === 0 ? name : '').padEnd(13))} ${line}`)
    },
    check: (name, ok, says, about) => {
      clear()
      checks.push(about === undefined ? { name, ok, says } : { name, ok, says, about })
      for (const [at, line] of wrap(printable(says), width - 4).entries()) {
        const mark = at > 0 ? ' ' : ok ? paint('green', '✓') : paint('red', '✗')
        out(`  ${mark} ${ok ? line : paint('red', line)}`)
      }
    },
    progress: (text) => {
      if (!json && process.stderr.isTTY) process.stderr.write(`\r\x1b[K  ${text}`)
    },
  }
}

/** The last words: how many lines held and, where all did, what a newcomer does next. */
export function ending(checks: readonly Check[], seconds: number, kept: boolean): string {
  const failed = checks.filter((check) => !check.ok).length
  if (failed > 0) return `\n${failed} of ${checks.length} lines did not hold, ${seconds} s.\n`
  const held = `\nAll ${checks.length} lines held, ${seconds} s.\n`
  // What to try on what was left running is said by then.
  if (kept) return held
  return `${held}
Next:
  bin/ostiary.mjs init --dry-run     finds keys on this machine, changes nothing
  docs/guide/first-ten-minutes.md    from there to an agent that holds none
  npm start -- --keep                leaves this stage running, to look around
`
}

/** Outside text never moves the cursor (invariant 16). */
function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '?')
}

function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
    while (line.length > columns) {
      lines.push(line.slice(0, columns))
      line = line.slice(columns)
    }
  }
  return [...lines, line]
}
