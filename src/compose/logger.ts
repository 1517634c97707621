// Structured logs by pino, with an allow-list of plain values: an object, an Error's own fields or a Secret never get in.
import pino from 'pino'
import type { Log } from '../model/kind.ts'

export interface Logger extends Log {
  level(level: string): void
}

export function createLogger(
  level: string,
  destination: { write(line: string): void } = process.stderr,
  base: Readonly<Record<string, number>> | null = null,
): Logger {
  const out = pino(
    { level, base, timestamp: pino.stdTimeFunctions.isoTime, serializers: {}, formatters: { level: (label) => ({ level: label }) } },
    destination,
  )
  const line =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (what: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      out[name](plain(fields), what)
  return {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    level: (next) => {
      out.level = next
    },
  }
}

function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || typeof value === 'number' || typeof value === 'boolean') kept[name] = value
    else if (typeof value === 'string') kept[name] = value.slice(0, 500)
    else if (Array.isArray(value)) kept[name] = value.filter((one) => typeof one === 'string' || typeof one === 'number').slice(0, 50)
    else if (value instanceof Error) kept[name] = `${value.name}: ${value.message}`.slice(0, 500)
    else kept[name] = '[object]'
  }
  return kept
}
