// Which texts are keys: values of a vendor's shape or in a vendor's variable, without the decoys (examples, placeholders, our own
// marks). Pure; it must never print a value, only its mask.
import { keysIn } from '../../catalog/leaks.ts'
import { limits } from '../../model/limits.ts'
import { loose, probes, unmeant, vendorOfVariable } from './vendors.ts'

/** Stands where a key stood: of no vendor's shape, so that a second search finds nothing. */
export const blank = 'sealed-by-ostiary'

export interface Spotted {
  readonly vendor: string
  readonly value: string
  readonly start: number
  /** The variable or field that is given the value; empty where there is none. */
  readonly name: string
}

const variables = Object.keys(vendorOfVariable)
/** NAME=value, NAME: value, "NAME": "value", set -x NAME value; the value bare or quoted. */
const assignment = new RegExp(
  `(?<![A-Za-z0-9_])(?:(${variables.join('|')})["'\\\\]{0,4}[ \\t]{0,3}[:=]|set -\\w{1,4} (${variables.join('|')}))[ \\t]{0,3}["'\\\\]{0,4}([\\w./+=~-]{20,1000})`,
  'g',
)
const nameBefore = /([A-Za-z_][\w-]{0,80})["'\\]{0,4}(?:[ \t]{0,3}[:=][ \t]{0,3}|[ \t]{1,3})["'\\]{0,4}(?:Bearer )?$/

/** The keys in the text (at most a thousand), in order, each place once. */
export function spot(text: string): readonly Spotted[] {
  // What JSON and terminals put before a key would hide where it begins; replaced length by length, so that places stay true.
  const plain = text
    .replace(/\\u00[01][0-9a-fA-F]|\\[nrtbf]|\x1b\[[\d;]*m/g, (found) => ' '.repeat(found.length))
    .replace(/ \[[\d;]*m/g, spaces)
  const found = new Map<number, Spotted>()
  for (const { vendor, value, start } of keysIn(plain, limits.initKeysMax)) {
    if (unmeant.test(value)) continue
    const name = nameBefore.exec(plain.slice(Math.max(0, start - 100), start))?.[1] ?? ''
    const owner = vendorOfVariable[name] ?? vendor
    if (loose.has(vendor) && name === '') continue
    if (plausible(value))
      found.set(start, { vendor: value.startsWith('sk-') && !value.startsWith('sk-ant-') ? owner : vendor, value, start, name })
  }
  for (const match of plain.matchAll(assignment)) {
    if (found.size >= limits.initKeysMax) break
    const [whole, assigned, set, value = ''] = match
    const name = assigned ?? set ?? ''
    const start = match.index + whole.length - value.length
    if (overlaps(found, start, value.length) || unmeant.test(value) || !plausible(value)) continue
    // The next line of a transcript; or a file that holds the key is named there, not the key (a secret of AWS may begin with a slash).
    if (/=[^=]/.test(value) || (/^[~./]/.test(value) && vendorOfVariable[name] !== 'aws')) continue
    found.set(start, { vendor: vendorOfVariable[name] as string, value, start, name })
  }
  return [...found.values()].sort((a, b) => a.start - b.start)
}

const spaces = (found: string): string => ' '.repeat(found.length)

function overlaps(found: ReadonlyMap<number, Spotted>, start: number, length: number): boolean {
  return [...found.values()].some((one) => one.start < start + length && start < one.start + one.value.length)
}

const words =
  /example|placeholder|xxxx|dummy|changeme|change[-_]me|redacted|your[-_]|[-_]here\b|insert[-_]|replace[-_]|fake[-_]|ost1ary|ostiary|secret[-_]key|api[-_]?key|process\.env|environ|getenv|\.\.\.|\*\*\*/i

/** False for what people write where a key would stand. */
function plausible(value: string): boolean {
  if (words.test(value) || value.length > 600) return false
  const body = value.replace(prefixOf(value), '')
  if (new Set(body).size < 8) return false
  // Words in lower case, hyphened or not, are names of things.
  if (!/\d/.test(body) && !(/[a-z]/.test(body) && /[A-Z]/.test(body))) return false
  return !hasRun(body)
}

/** Six characters each one after the last (`abcdef`, `123456`) or all the same: nobody's generator makes these. */
function hasRun(text: string): boolean {
  for (const step of [0, 1]) {
    let length = 1
    for (let at = 1; at < text.length; at++) {
      length = text.charCodeAt(at) - text.charCodeAt(at - 1) === step ? length + 1 : 1
      if (length >= 6) return true
    }
  }
  return false
}

const prefixes =
  /^(?:sk-ant-[a-z]{3,5}\d\d-|sk-or-v1-|sk-(?:proj|svcacct|admin|None)-|sk-|AIza|AQ\.|gh[pousr]_|github_pat_|gl[a-z]{2,5}-|gsk_|xai-|xox[a-z][.-]|xapp-|hf_|api_org_|r8_|fw_|pplx-|[sr]k_(?:live|test|prod)_|sk_|pa-|dapi|ntn_|lin_(?:api|oauth)_|pcsk_|tvly-|SG\.|sntry[us]_|npm_|ABSK|AT(?:ATT|CTT)3)/

function prefixOf(value: string): string {
  return prefixes.exec(value)?.[0] ?? ''
}

/** The vendor's public prefix and the last four characters. */
export function masked(value: string): string {
  return `${prefixOf(value)}…${value.slice(-4)}`
}

export const isSetUpToken = (value: string): boolean => /^sk-ant-oat\d\d-/.test(value)

/** The service of the catalog that this key is for; null where Ostiary cannot hold it for an agent yet. */
export function serviceOf({ vendor, value }: Pick<Spotted, 'vendor' | 'value'>): string | null {
  if (/^sk-(?:ant-)?admin/.test(value)) return null
  const service = vendor === 'google' ? 'gemini' : vendor
  return Object.hasOwn(probes, service) ? service : null
}
