// Equal refusals of one sender within a window become one entry with a count (DESIGN invariant 9). The very first is written at once,
// so that it can be looked up; what follows is one entry a window until one passes without any. It must never hold more than
// sendersMax windows open.
import type { Entry } from '../model/entry.ts'
import type { Log } from '../model/kind.ts'

interface Window {
  readonly sender: string
  last: Entry
  count: number
}

interface Options {
  readonly windowMs: number
  readonly sendersMax: number
  readonly log: Log
  readonly write: (entry: Entry) => void
  /** What refused callers can cause stays within their byte rate and above the disk reserve, which outcomes and administration need. */
  readonly fits: (entry: Entry, sender: string) => boolean
}

export function createRefusals(options: Options): { add(entry: Entry, sender: string): void; close(): void } {
  const windows = new Map<string, Window>()
  let timer: NodeJS.Timeout | null = null

  function write(entry: Entry, sender: string): void {
    if (options.fits(entry, sender)) options.write(entry)
    else options.log.warn('audit refusal not recorded: byte rate or disk reserve', { code: entry.code, call: entry.call })
  }

  function flush(): void {
    for (const [key, window] of windows) {
      if (window.count > 0) write({ ...window.last, count: window.count }, window.sender)
      else windows.delete(key)
      window.count = 0
    }
  }

  function arm(): void {
    timer ??= setTimeout(() => {
      timer = null
      flush()
      if (windows.size > 0) arm()
    }, options.windowMs)
  }

  return {
    add(entry, sender) {
      const key = JSON.stringify([entry.kind, sender, entry.code, entry.host, entry.action, entry.alert])
      const window = windows.get(key)
      if (window !== undefined) {
        window.last = entry
        window.count += 1
        return
      }
      if (windows.size >= options.sendersMax) {
        flush()
        windows.clear()
      }
      windows.set(key, { sender, last: entry, count: 0 })
      arm()
      write(entry, sender)
    },
    close() {
      if (timer !== null) clearTimeout(timer)
      flush()
    },
  }
}
