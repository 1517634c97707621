// The proxy of this network, as the user's shell names it: the lines of `egress` that say the same. It never writes a login.
import { isIP } from 'node:net'

export interface EgressFound {
  /** For the configuration; none where there is no proxy. */
  readonly lines: readonly string[]
  /** What could not be taken over, and what to do. */
  readonly said: readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

const none: EgressFound = { lines: [], said: [] }

export function egressFound(environment: Environment): EgressFound {
  // In a run the proxy is Ostiary itself.
  if ((environment['OSTIARY_RUN'] ?? '') !== '') return none
  const name = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'].find((one) => (environment[one] ?? '') !== '')
  if (name === undefined) return none
  const text = (environment[name] ?? '').trim()
  const written = /^[a-z0-9+.-]+:\/\//i.test(text) ? text : `http://${text}`
  const url = URL.canParse(written) ? new URL(written) : null
  if (url === null || url.hostname === '')
    return { lines: [], said: [`${name} names no proxy that can be read: write egress.proxy yourself`] }
  if (/^(?:127\.|\[::1\]$|localhost$)/.test(url.hostname) && url.port === '7070') return none
  if (url.protocol !== 'http:')
    return {
      lines: [],
      said: [`${name} names a proxy of ${url.protocol.slice(0, -1)}, and Ostiary goes through one of http: write egress.proxy yourself`],
    }
  const exceptions = exceptionsOf(environment['no_proxy'] || environment['NO_PROXY'] || '')
  if (exceptions.all) return none
  const said: string[] = []
  if (url.username !== '' || url.password !== '')
    said.push(
      `${name} holds a login, which is not taken over: Ostiary logs in nowhere on the way out (name a helper on loopback, cntlm or px)`,
    )
  if (exceptions.left.length > 0)
    said.push(`exceptions that are neither a name nor an address are left out of egress.noProxy: ${exceptions.left.join(', ')}`)
  return {
    lines: [
      'egress:',
      `  # From ${name} of your shell. Where it reads what passes, its CA belongs into extraCa, and \`inspects: true\` lets it see credentials.`,
      `  proxy: http://${url.host}`,
      ...(exceptions.names.length > 0 ? [`  noProxy: [${exceptions.names.map((one) => JSON.stringify(one)).join(', ')}]`] : []),
    ],
    said,
  }
}

/** Every program reads NO_PROXY in its own way; names with what is below them, and addresses, are common to them. */
function exceptionsOf(text: string): { readonly all: boolean; readonly names: readonly string[]; readonly left: readonly string[] } {
  const names: string[] = []
  const left: string[] = []
  const written = text.split(/[\s,]+/).filter((one) => one !== '')
  for (const one of written) {
    const name = one
      .toLowerCase()
      .replace(/^\*?\./, '')
      .replace(/^\[|\]$/g, '')
    // What is on this machine never went through Ostiary.
    if (name === 'localhost' || name.startsWith('127.') || name === '::1') continue
    if (isIP(name) !== 0 || /^(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name)) names.push(name)
    else left.push(one)
  }
  return { all: written.includes('*'), names: [...new Set(names)], left }
}
