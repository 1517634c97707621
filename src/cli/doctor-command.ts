// `ostiary doctor -- COMMAND`: which runtime a command is, and how its connections find the proxy in a run. It reads the file and
// never starts it; what is said of each kind is what `npm run clients` measured.
import { closeSync, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs'
import { basename, delimiter, join, resolve } from 'node:path'
import type { Context } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'

interface Kind {
  readonly name: string
  /** True: nothing to do. */
  readonly ok: boolean
  readonly says: string
}

const fallback = 'where `ostiary watch` shows none of its calls, start it with `ostiary run --isolate -- COMMAND`'
const kinds = {
  node: {
    name: 'Node',
    ok: true,
    says: 'NODE_USE_ENV_PROXY and a preload in NODE_OPTIONS lead every connection to port 443 through the proxy: nothing to do',
  },
  python: {
    name: 'Python',
    ok: true,
    says: 'urllib, requests, httpx and the SDKs on them heed the proxy variables; aiohttp without trust_env and bare urllib3 do not: start those with --isolate',
  },
  java: { name: 'Java', ok: true, says: 'JAVA_TOOL_OPTIONS names the proxy and a trust store: nothing to do' },
  go: { name: 'Go', ok: true, says: 'net/http heeds the proxy variables and SSL_CERT_FILE: nothing to do' },
  rust: { name: 'Rust', ok: true, says: `reqwest heeds the proxy variables and SSL_CERT_FILE; of other libraries: ${fallback}` },
  tool: { name: 'curl or git', ok: true, says: 'heeds the proxy variables: nothing to do' },
  bun: { name: 'Bun', ok: false, says: `not among the clients that were tried, beside the agents that are built with it: ${fallback}` },
  shell: { name: 'shell script', ok: false, says: 'what it starts is what counts: ask for that program' },
  unknown: { name: 'unknown', ok: false, says: `its runtime cannot be told from its file: ${fallback}` },
} as const satisfies Record<string, Kind>

const byName: readonly (readonly [RegExp, Kind])[] = [
  [/^(?:node|nodejs)$/, kinds.node],
  [/^python[\d.]*$/, kinds.python],
  [/^java$/, kinds.java],
  [/^(?:curl|git)$/, kinds.tool],
  [/^bun$/, kinds.bun],
  [/^(?:ba|da|z|k|a)?sh$/, kinds.shell],
]

/** What only binaries of that kind hold. The order is that of asking: a Bun holds words of others. */
const markers: readonly (readonly [string, Kind])[] = [
  ['---- Bun! ----', kinds.bun],
  ['NODE_SEA_FUSE_', kinds.node],
  ['\xff Go buildinf:', kinds.go],
  ['/rustc/', kinds.rust],
]
const chunkBytes = 1 << 20
const markerBytesMax = 32

/** Exit code 0 when there is nothing to do, 1 when there is. */
export function doctorCommand({ out }: Context, command: readonly string[]): number {
  const [word = ''] = command
  const file = found(word)
  if (file === null)
    throw new WrongUse(`${word}: there is no such command on the PATH. Write what you would write behind \`ostiary run --\``)
  const kind = kindOf(file, word)
  out.value({ ok: kind.ok, command: word, file, kind: kind.name, says: kind.says }, () => {
    const mark = kind.ok ? paint('green', 'ok  ') : paint('yellow', 'look')
    out.line(`${mark} ${printable(word)} is ${kind.name} (${printable(file)}): ${kind.says}`)
  })
  return kind.ok ? 0 : 1
}

function found(word: string): string | null {
  const places = word.includes('/') ? [resolve(word)] : (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, word))
  const file = word === '' ? undefined : places.find((place) => existsSync(place) && statSync(place).isFile())
  return file === undefined ? null : realpathSync(file)
}

/** Its name as it was asked for, before its file: version managers put a script in its place. */
export function kindOf(file: string, word: string): Kind {
  const named = (name: string): Kind | undefined => byName.find(([form]) => form.test(name))?.[1]
  return named(basename(word)) ?? named(basename(file)) ?? byContent(file, named) ?? kinds.unknown
}

function byContent(file: string, named: (name: string) => Kind | undefined): Kind | undefined {
  const descriptor = openSync(file, 'r')
  try {
    const chunk = Buffer.alloc(chunkBytes)
    const seen = new Set<Kind>()
    let before = ''
    for (let at = 0; ; at += chunkBytes) {
      const text = chunk.toString('latin1', 0, readSync(descriptor, chunk, 0, chunkBytes, at))
      if (at === 0 && text.startsWith('#!')) return named(interpreterIn(text))
      for (const [marker, kind] of markers) if (`${before}${text}`.includes(marker)) seen.add(kind)
      if (text.length < chunkBytes) break
      before = text.slice(-markerBytesMax)
    }
    return markers.find(([, kind]) => seen.has(kind))?.[1]
  } finally {
    closeSync(descriptor)
  }
}

/** `#!/usr/bin/env -S node --flag` and `#!/usr/bin/node`. */
function interpreterIn(text: string): string {
  const words = (text.slice(2).split('\n')[0] ?? '').trim().split(/\s+/)
  const [program = '', ...rest] = words
  if (basename(program) !== 'env') return basename(program)
  return basename(rest.find((word) => !word.startsWith('-') && !word.includes('=')) ?? '')
}
