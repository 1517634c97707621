// How exposed a file is: who may read it, and whether git has it. Judges by the file system and by git's own word.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { limits } from '../../model/limits.ts'

export function exposureOf(path: string): readonly string[] {
  const says: string[] = []
  const { mode } = statSync(path)
  if ((mode & 0o004) !== 0) says.push(`readable by everybody (${(mode & 0o777).toString(8)})`)
  else if ((mode & 0o040) !== 0) says.push(`readable by its group (${(mode & 0o777).toString(8)})`)
  const git = gitSays(path)
  return git === null ? says : [...says, git]
}

function gitSays(path: string): string | null {
  if (!inRepository(dirname(path))) return null
  if (git(path, ['ls-files', '--error-unmatch', '--', path]) === 0) return 'committed to git: blanking the file does not blank its history'
  const past = gitOut(path, ['log', '--all', '--max-count=1', '--format=%h', '--', path])
  if (past === null) return 'in a git repository'
  if (past !== '') return `was committed to git once (${past.slice(0, 12)}): its history still has it`
  return git(path, ['check-ignore', '--quiet', '--', path]) === 0
    ? 'in a git repository, ignored'
    : 'in a git repository, one `git add .` from a commit'
}

function inRepository(folder: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return true
    if (at === dirname(at)) return false
  }
}

// A repository may name programs that git would start; none of these questions may start one.
const quiet = ['--no-optional-locks', '-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null', '-c', 'log.showSignature=false']

function ask(path: string, words: readonly string[]): { readonly status: number | null; readonly out: string } {
  const { GIT_DIR: _, GIT_WORK_TREE: __, GIT_INDEX_FILE: ___, ...env } = process.env
  const done = spawnSync('git', [...quiet, '-C', dirname(path), ...words], {
    encoding: 'utf8',
    timeout: limits.initGitMs,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return { status: done.status, out: done.stdout ?? '' }
}

const git = (path: string, words: readonly string[]): number | null => ask(path, words).status

function gitOut(path: string, words: readonly string[]): string | null {
  const { status, out } = ask(path, words)
  return status === 0 ? out.trim() : null
}
