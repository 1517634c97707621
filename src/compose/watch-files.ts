// Notices that a configured file changed, by looking at it once a second: editors replace files, and a watch follows the old one.
import { statSync } from 'node:fs'

const lookMs = 1_000

export function watchFiles(files: () => readonly string[], changed: () => Promise<void>): { close(): void } {
  const look = (): string =>
    files()
      .map((file) => {
        try {
          const { mtimeMs, size, ino } = statSync(file)
          return `${file} ${mtimeMs} ${size} ${ino}`
        } catch {
          return `${file} gone`
        }
      })
      .join('\n')
  let known = look()
  let busy = false
  const timer = setInterval(() => {
    const now = look()
    if (now === known || busy) return
    known = now
    busy = true
    void changed().finally(() => {
      // A reload by hand meanwhile read the same files.
      known = look()
      busy = false
    })
  }, lookMs)
  timer.unref()
  return { close: () => clearInterval(timer) }
}
