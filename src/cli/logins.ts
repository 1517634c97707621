// Logins that an agent holds itself because Ostiary cannot broker them: recognised by their files, never taken or changed.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface HeldLogin {
  /** The command that uses it. */
  readonly agent: string
  readonly what: string
  readonly path: string
  /** What to do instead, or to let it through. */
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
      instead: 'ostiary secret set openai --for openai, and Codex with an API key',
    })
  if (hasText(fieldOf(gemini, null), 'refresh_token') || hasText(fieldOf(gemini, null), 'access_token'))
    found.push({
      agent: 'gemini',
      what: "Gemini's Google login",
      path: gemini,
      instead: 'ostiary secret set gemini --for gemini, and "selectedType": "gemini-api-key" in ~/.gemini/settings.json',
    })
  if (hasText(fieldOf(claude, 'claudeAiOauth'), 'accessToken'))
    found.push({
      agent: 'claude',
      what: "Claude Code's own login",
      path: claude,
      instead: '`claude setup-token`, then ostiary secret set anthropic --for anthropic with `slot: bearer`',
    })
  return found
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
