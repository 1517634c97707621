// Browsers in a run: Chromium and all that are built on it find their roots in ~/.pki/nssdb and nowhere else. In the run a database
// that holds our CA lies there, in memory; the user's own, and the user's own browser, never see it.
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Step } from './covers.ts'

/** `steps` and what makes the database. The folder is made where there is none, as the browser would at its first start. */
export function withBrowserRoots(steps: readonly Step[], home: string, caFile: string): readonly Step[] {
  const folder = join(home, '.pki', 'nssdb')
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch {
    return steps // a home that nobody can write: no browser is at home there either
  }
  const more: readonly Step[] = [
    ['roots', join(dirname(caFile), 'cert9.db')],
    ['nss', folder],
  ]
  // What the folders are made in is gone once there is a new /dev.
  return [...steps.filter(([what]) => what !== 'dev'), ...more, ...steps.filter(([what]) => what === 'dev')]
}
