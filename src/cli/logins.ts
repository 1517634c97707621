// Logins that an agent holds itself because Ostiary cannot broker them: recognised by their files, never taken or changed.
import { readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'

export interface HeldLogin {
  /** The command that uses it. */
  readonly agent: string
  readonly what: string
  readonly path: string
  /** Name of the door that shows it to a run. */
  readonly door: string
  /** What to do instead. */
  readonly instead: string
}

const bytesMax = 256 * 1024

export function heldLogins(home: string): readonly HeldLogin[] {
  const codex = join(home, '.codex', 'auth.json')
  const gemini = join(home, '.gemini', 'oauth_creds.json')
  const claude = join(home, '.claude', '.credentials.json')
  const found: HeldLogin[] = []
  if (hasText(fieldOf(codex, 'tokens'), 'access_token'))
    found.push({
      agent: 'codex',
      what: "Codex's ChatGPT login",
      path: codex,
      door: 'codex-login',
      instead: 'ostiary secret set openai --for openai, and Codex with an API key',
    })
  if (hasText(fieldOf(gemini, null), 'refresh_token') || hasText(fieldOf(gemini, null), 'access_token'))
    found.push({
      agent: 'gemini',
      what: "Gemini's Google login",
      path: gemini,
      door: 'gemini-login',
      instead: 'ostiary secret set gemini --for gemini, and "selectedType": "gemini-api-key" in ~/.gemini/settings.json',
    })
  if (hasText(fieldOf(claude, 'claudeAiOauth'), 'accessToken'))
    found.push({
      agent: 'claude',
      what: "Claude Code's own login",
      path: claude,
      door: 'claude-login',
      instead: '`claude setup-token`, then ostiary secret set anthropic --for anthropic with `slot: bearer`',
    })
  return found
}

/** One line about the login of the agent that is started: nothing is taken from it without a word, or let through without one. */
export function loginSays(home: string, command: string, exposed: readonly string[], hides: () => boolean): string | null {
  const login = heldLogins(home).find(({ agent }) => agent === basename(command))
  if (login === undefined) return null
  if (exposed.includes(login.door) || !hides())
    return `agent-held: ${login.what} is in the hands of the command; Ostiary does not inject it and cannot scrub it`
  return `${login.what} is hidden from the command. Instead: ${login.instead}. Or --expose ${login.door} leaves it in the agent's hands`
}

function fieldOf(path: string, name: string | null): unknown {
  try {
    const found = statSync(path)
    if (!found.isFile() || found.size > bytesMax) return null
    const json: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return name === null ? json : (json as Record<string, unknown> | null)?.[name]
  } catch {
    return null
  }
}

function hasText(value: unknown, name: string): boolean {
  const text = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
  return typeof text === 'string' && text !== ''
}
