// What looks like a key in a path or in free text goes before it is recorded. Names of models and ids of vendors' objects stay:
// a record that hides what was asked for is worth little. It must never be the only guard of a secret that Ostiary itself knows.

/** Beginnings that vendors give to keys, anywhere a word begins, with at least eight more characters. */
const prefixes =
  /(?<![A-Za-z0-9])(?:sk-|sk_|rk_|pk_live_|AIza|AQ\.|ya29\.|gh[pousr]_|github_pat_|glpat-|gsk_|hf_|xox[abeoprs]-|xapp-|AKIA|ASIA|eyJ|npm_|pypi-|r8_|pplx-|tvly-|whsec_|shp(?:at|ss|ca|pa)_|SG\.|dop_v1_|dapi|lin_api_|secret_|xai-|pat-|key-|bearer)[A-Za-z0-9._~+=-]{8,}/i

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Ids that the catalog's vendors give to objects: they name, they do not open. */
const ids =
  /^(?:resp|msg|thread|run|asst|step|vs|vsf|file|batch|chatcmpl|cmpl|msgbatch|ft|ftjob|ftevent|cont|cntr|conv|item|rs|fc|ws|call|toolu|cachedContents|operations|sess|eval|evalrun|upload|part|req|org|proj|skill|video)[-_][A-Za-z0-9_-]{6,64}$/

export const redacted = '[redacted]'

/** The path without what looks like a key, and without a query even where a caller left one. */
export function redactPath(path: string): string {
  const query = path.search(/[?#]/)
  const bare = query < 0 ? path : path.slice(0, query)
  if (bare.length < 12) return bare
  return bare
    .split('/')
    .map((segment) => (looksLikeKey(segment) ? redacted : segment))
    .join('/')
}

/** For details and notes: words that look like keys go, the rest stays. */
export function redactText(text: string): string {
  if (text.length < 12) return text
  return text.replace(/(?<!sha256:)\b[^\s"'`,;:()<>[\]{}/=?&]{12,}/g, (word) => (looksLikeKey(word) ? redacted : word))
}

function looksLikeKey(segment: string): boolean {
  if (segment.length < 12) return false
  const text = segment.includes('%') ? decoded(segment) : segment
  if (prefixes.test(text)) return true
  if (text.length < 20 || uuid.test(text) || ids.test(text)) return false
  return (
    text.split(/[^A-Za-z0-9]+/).some(isRandom) ||
    (text.length >= 40 && isRandom(text.replace(/[^A-Za-z0-9]/g, '')) && !/[a-z]{6}/.test(text))
  )
}

/** Words and versions have long stretches of one sort of character; what a generator made changes all the time. */
function isRandom(run: string): boolean {
  if (run.length < 16) return false
  const digits = run.replace(/\D/g, '').length
  const letters = run.replace(/[^A-Za-z]/g, '').length
  if (letters === 0) return false
  let changes = 0
  for (let i = 1; i < run.length; i += 1) if (sort(run.charCodeAt(i)) !== sort(run.charCodeAt(i - 1))) changes += 1
  if (digits >= 2) return changes >= 4 && changes * 8 >= run.length
  return run.length >= 28 && changes * 3 >= run.length
}

function sort(code: number): number {
  if (code < 58) return 0
  return code < 91 ? 1 : 2
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
