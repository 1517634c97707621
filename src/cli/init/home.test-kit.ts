// A prepared home: twelve planted keys in the places where people leave them, among decoys. Only for tests.
import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Random text that is the same in each round. */
export function body(seed: string, length: number): string {
  let text = ''
  for (let at = 0; text.length < length; at++) text += createHash('sha512').update(`${seed}${at}`).digest('base64').replace(/[+/=]/g, '')
  return text.slice(0, length)
}

const hex = (seed: string, length: number): string => createHash('sha512').update(seed).digest('hex').slice(0, length)

export const planted = {
  openaiVariable: `sk-proj-${body('a', 60)}`,
  openaiEnv: `sk-proj-${body('b', 100)}`,
  anthropicHistory: `sk-ant-api03-${body('c', 93)}AA`,
  setUpToken: `sk-ant-oat01-${body('d', 93)}AA`,
  geminiStart: `AIzaSy${body('e', 33)}`,
  githubMcp: `ghp_${body('f', 36)}`,
  slackMcp: `xoxb-${'48215'}${body('g', 40)}`,
  openrouterTranscript: `sk-or-v1-${hex('h', 64)}`,
  mistralEnv: body('i', 32),
  deepseekFish: `sk-${hex('j', 32)}`,
  awsSecret: body('k', 40),
  groqCodex: `gsk_${body('l', 52)}`,
} as const

export function prepareHome(home: string): { readonly environment: Readonly<Record<string, string>>; readonly project: string } {
  const put = (path: string, text: string, mode = 0o600): void => {
    mkdirSync(dirname(join(home, path)), { recursive: true })
    writeFileSync(join(home, path), text, { mode })
  }
  const project = join(home, 'src', 'shop')
  put('src/shop/.env', `# keys\nDEBUG=1\nOPENAI_API_KEY=${planted.openaiEnv}\nexport MISTRAL_API_KEY='${planted.mistralEnv}'\n`, 0o644)
  put(
    '.bash_history',
    `ls\nexport ANTHROPIC_API_KEY=${planted.anthropicHistory}\ncurl -H "x-api-key: ${planted.anthropicHistory}" https://api.anthropic.com\n`,
  )
  put('.zshrc', `autoload -U compinit\nexport GEMINI_API_KEY="${planted.geminiStart}"\nexport OPENAI_API_KEY=$(pass show openai)\n`)
  put('.local/share/fish/fish_history', `- cmd: set -gx DEEPSEEK_API_KEY ${planted.deepseekFish}\n  when: 1700000000\n`)
  put('.claude.json', JSON.stringify({ mcpServers: { slack: { command: 'npx', env: { SLACK_BOT_TOKEN: planted.slackMcp } } } }, null, 2))
  put('.cursor/mcp.json', JSON.stringify({ mcpServers: { gh: { env: { GITHUB_PERSONAL_ACCESS_TOKEN: planted.githubMcp } } } }))
  put('src/shop/.claude/settings.local.json', JSON.stringify({ env: { CLAUDE_CODE_OAUTH_TOKEN: planted.setUpToken } }))
  const line = {
    type: 'user',
    message: { content: `here it is:\n${planted.openrouterTranscript}\nand \u001b[32m${planted.openaiEnv}\u001b[0m.` },
  }
  put('.claude/projects/-home-me-shop/0a1b.jsonl', `${JSON.stringify({ type: 'x' })}\n${JSON.stringify(line)}\n`)
  put('.codex/config.toml', `[model_providers.groq]\nenv = { GROQ_API_KEY = "${planted.groqCodex}" }\n`)
  put('.aws/credentials', `[default]\naws_access_key_id = AKIA${'QZ7XWD4M2R8TYN5B'}\naws_secret_access_key = ${planted.awsSecret}\n`)
  decoys(put)
  // A second place of a key that is known already counts once.
  appendFileSync(join(home, '.bash_history'), `OPENAI_API_KEY=${planted.openaiVariable} python x.py\n`)
  return { environment: { OPENAI_API_KEY: planted.openaiVariable, HOME: home, PATH: '/usr/bin:/bin' }, project }
}

function decoys(put: (path: string, text: string) => void): void {
  put(
    'src/shop/.env.example',
    `OPENAI_API_KEY=sk-your-key-here-1234567890\nANTHROPIC_API_KEY=sk-ant-api03-${'x'.repeat(80)}\nGEMINI_API_KEY=AIzaSyEXAMPLE${body('m', 26)}\nMISTRAL_API_KEY=\nCOHERE_API_KEY=\nTWILIO_AUTH_TOKEN_FILE_NAME_2=x\n`,
  )
  put(
    'src/shop/.env.test',
    `OPENAI_API_KEY=sk-1234567890abcdef1234567890abcdef\nOPENAI_API_KEY=sealed-by-ostiary\nGITHUB_TOKEN=ghp_${'0'.repeat(36)}\n`,
  )
  put(
    'src/shop/.env.local',
    `NEXT_PUBLIC_STRIPE=pk_live_${body('n', 24)}\nSUPABASE_ANON=eyJ${body('o', 20)}.eyJ${body('p', 60)}.${body('q', 43)}\n`,
  )
  put(
    'src/shop/.claude/settings.json',
    JSON.stringify({
      env: { OPENAI_API_KEY: `sk-proj-Ost1ary${body('r', 33)}`, SHA: hex('s', 64) },
      permissions: { allow: ['Bash(task-runner-abcdefgh:*)'] },
    }),
  )
  put('.ssh/id_ed25519.pub', `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${body('t', 43)} me@laptop\n`)
  put(
    '.zsh_history',
    `: 1700000000:0;git checkout ${hex('u', 40)}\n: 1700000001:0;echo sk-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\n: 1700000002:0;OPENAI_API_KEY=~/keys/openai-production-1.txt run\n: 1700000003:0;export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n`,
  )
  put(
    '.claude/.credentials.json',
    JSON.stringify({ claudeAiOauth: { accessToken: `sk-ant-oat01-${body('v', 95)}`, refreshToken: `sk-ant-ort01-${body('w', 95)}` } }),
  )
  put(
    '.codex/auth.json',
    JSON.stringify({ OPENAI_API_KEY: null, tokens: { access_token: `eyJ${body('x', 30)}.eyJ${body('y', 60)}.${body('z', 60)}` } }),
  )
  put('src/shop/node_modules/pkg/.env', `OPENAI_API_KEY=sk-proj-${body('never', 60)}\n`)
  put(
    '.claude/projects/-home-me-shop/doc.jsonl',
    `${JSON.stringify({ text: 'Set OPENAI_API_KEY=\nANOTHER_VARIABLE_NAME_2=1 and read process.env.OPENAI_API_KEY_2 sk-learn-contrib-package-x' })}\n`,
  )
}
