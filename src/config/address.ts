// HOST:PORT as the file writes it; an IPv6 address stands in brackets.
import { isIP } from 'node:net'
import type { Address } from './config.ts'
import type { Reading } from './reading.ts'

export function split(text: string): Address {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) }
}

export function address(reading: Reading, path: readonly PropertyKey[], text: string): Address {
  const found = split(text)
  if (found.port > 65_535) reading.wrong(path, `${found.port} is no port`, 'a port from 1 to 65535')
  if (text.startsWith('[') && isIP(found.host) !== 6) reading.wrong(path, `${found.host} is no IPv6 address`, '[::1]:7070')
  return found
}
