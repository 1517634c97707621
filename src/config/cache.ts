// Where compiled code is kept between starts. What lies there is run by Ostiary as its own code, so it is in custody like the
// rest: a run must not be able to write it. Imports nothing heavy: it is asked before everything else is loaded.
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

export function cacheDirOf(env: Readonly<Record<string, string | undefined>>): string {
  const named = env['XDG_CACHE_HOME'] ?? ''
  return join(isAbsolute(named) ? named : join(homedir(), '.cache'), 'ostiary')
}
