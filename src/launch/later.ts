// Keeps paths free that would run later outside the run and did not exist when it began: a mount cannot cover what is not there.
// The launcher, outside the namespace, looks twice a second and once at the end. It never deletes: it sets aside and says so.
import { lstatSync, readlinkSync, renameSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Watched } from './covers.ts'

export interface Later {
  /** Looks a last time. */
  stop(): void
}

export function keepFree(watched: readonly Watched[], suffix: string, say: (line: string) => void, everyMs = 500): Later {
  const failed = new Set<string>()
  let aside = 0
  const look = (): void => {
    for (const one of watched) {
      if (asItWas(one)) continue
      try {
        const made = linkOrLeaf(one)
        const name = `${made}.${suffix}-${++aside}`
        if (exists(made)) {
          renameSync(made, name)
          say(`${made} was made during the run and would run outside it: set aside as ${name}`)
        }
        if (one.link !== null) symlinkSync(one.link, one.path)
      } catch (error) {
        if (!failed.has(one.path)) say(`${one.path} was changed during the run and could not be set aside (${String(error)}): look at it`)
        failed.add(one.path)
      }
    }
  }
  const timer = setInterval(look, everyMs)
  return {
    stop: () => {
      clearInterval(timer)
      look()
    },
  }
}

/** A link on the way could lead to something that is not the run's: then the link is what is set aside. */
function linkOrLeaf({ path, absent }: Watched): string {
  for (let at = absent; at !== path; at = join(at, path.slice(at.length + 1).split('/')[0] as string))
    if (lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() === true) return at
  return path
}

function exists(path: string): boolean {
  try {
    lstatSync(path)
    return true
  } catch {
    return false
  }
}

function asItWas({ path, link }: Watched): boolean {
  if (link === null) return !exists(path)
  try {
    return readlinkSync(path) === link
  } catch {
    return false
  }
}
