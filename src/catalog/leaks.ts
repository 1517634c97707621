// Recognises values that look like a vendor's key: for inherited variables that a run must not see and for the
// foreign-credential alert. It says whose; it must never repeat the value.
import { limits } from '../model/limits.ts'

// Alphabets are generous and lengths are lower bounds: a missed key costs more than a false alarm.
const patterns: readonly (readonly [vendor: string, pattern: RegExp])[] = [
  ['anthropic', /\bsk-ant-(?:api|admin|oat|ort|sid)\d\d-[\w-]{20,}/],
  ['openrouter', /\bsk-or-v1-[0-9a-f]{32,}/],
  ['openai', /\bsk-(?:proj|svcacct|admin|None)-[\w-]{20,}/],
  ['openai', /\bsk-[A-Za-z0-9]{20,}/], // legacy and DeepSeek share it
  ['openai', /\bek_[A-Za-z0-9]{20,}/],
  ['google', /\bAIza[\w-]{30,}/],
  ['google', /\bAQ\.[\w-]{20,}/],
  ['google', /\bya29\.[\w-]{20,}/],
  ['google', /\bauth_tokens\/[\w-]{16,}/],
  ['google', /\bGOCSPX-[\w-]{20,}/],
  ['aws', /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/],
  ['aws', /\bABSK[A-Za-z0-9+/=]{40,}/],
  ['aws', /\bbedrock-api-key-[A-Za-z0-9+/=]{20,}/],
  ['azure', /\b[\w~.-]{3}\dQ~[\w~.-]{31,34}/],
  ['groq', /\bgsk_[A-Za-z0-9]{40,}/],
  ['xai', /\bxai-[0-9A-Za-z_]{60,}/],
  ['fireworks', /\bfw_[A-Za-z0-9]{20,}/],
  ['perplexity', /\bpplx-[A-Za-z0-9]{40,}/],
  ['huggingface', /\b(?:hf_(?:jwt_)?|api_org_)[A-Za-z0-9._-]{30,}/],
  ['replicate', /\br8_[0-9A-Za-z_-]{30,}/],
  ['elevenlabs', /\bsk_[a-f0-9]{48}/],
  ['voyage', /\bpa-[\w-]{40,}/],
  ['databricks', /\bdapi[0-9a-f]{32}/],
  ['github', /\bgh[pousr]_[A-Za-z0-9._-]{36,}/],
  ['github', /\bgithub_pat_\w{60,}/],
  ['gitlab', /\bgl(?:pat|dt|cbt|rt|oas|soat|ft|agent)-[\w.-]{20,}/],
  ['slack', /\bxox[abeprs](?:\.|-)[\w.-]{10,}/],
  ['slack', /\bxapp-[\w-]{10,}/],
  ['stripe', /\b[srp]k_(?:live|test|prod)_[A-Za-z0-9]{10,}/],
  ['notion', /\b(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})/],
  ['linear', /\blin_(?:api|oauth)_[A-Za-z0-9]{32,}/],
  ['atlassian', /\bAT(?:ATT|CTT)3[\w=-]{50,}/],
  ['pinecone', /\bpcsk_\w{40,}/],
  ['tavily', /\btvly-[\w-]{20,}/],
  ['sendgrid', /\bSG\.[\w-]{16,}\.[\w-]{32,}/],
  ['twilio', /\bSK[0-9a-f]{32}\b/],
  ['datadog', /\bdd(?:pat|ap)_[A-Za-z0-9]{20,}/],
  ['sentry', /\bsntry[us]_[\w.=+/-]{30,}/],
  ['npm', /\bnpm_[A-Za-z0-9]{36}/],
  ['private key', /-----BEGIN [A-Z ]*PRIVATE KEY/],
  ['jwt', /\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}/],
]

/** Whose key the value looks like, or holds; null when it looks like none. */
export function looksLikeKey(value: string): string | null {
  if (value.length < 16) return null
  const text = value.length > limits.scannedCharsMax ? value.slice(0, limits.scannedCharsMax) : value
  for (const [vendor, pattern] of patterns) if (pattern.test(text)) return vendor
  return null
}

export interface ShapedKey {
  readonly vendor: string
  readonly value: string
  readonly start: number
}

/** Shapes that stand for no one static key; and that of a token is searched in quadratic time, which a long text must not ask for. */
const noStaticKey: ReadonlySet<string> = new Set(['jwt', 'private key'])
const everywhere = patterns.flatMap(([vendor, pattern]) => (noStaticKey.has(vendor) ? [] : [[vendor, bounded(pattern)] as const]))

/** No vendor's key is longer; without an end a long text of one character class would outgrow the stack of the search. */
function bounded(pattern: RegExp): RegExp {
  return new RegExp(pattern.source.replace(/\{(\d+),\}/g, '{$1,1000}'), 'g')
}

/**
 * Static keys of a known shape in the text, at most `keysMax`, in order of their start; where two shapes fit one place, the first of
 * the table.
 */
export function keysIn(text: string, keysMax: number): readonly ShapedKey[] {
  const found = new Map<number, ShapedKey>()
  for (const [vendor, pattern] of everywhere)
    for (const match of text.matchAll(pattern)) {
      if (found.size >= keysMax) break
      // The full stop of a sentence is in some alphabets and ends no key.
      const value = match[0].replace(/\.+$/, '')
      if (!found.has(match.index)) found.set(match.index, { vendor, value, start: match.index })
    }
  return [...found.values()].sort((a, b) => a.start - b.start)
}
