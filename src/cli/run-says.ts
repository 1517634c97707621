// What `ostiary run` says at the end of a run: what was blocked in it, and whether the command only handed over to another.
import { basename } from 'node:path'
import type { Blocked } from '../launch/run-door-client.ts'
import { printable } from './print.ts'
import { remedy } from './remedy.ts'

/** A blocked host never looks like a broken network. */
export function sayBlocked(workload: string, blocked: readonly Blocked[], say: (line: string) => void): void {
  say('blocked in this run, each with what would allow it (at a terminal outside any run):')
  for (const { host, action, code, count } of blocked) {
    const nothing = { service: null, method: null, detail: null, run: null, process: null }
    const times = count === 1 ? '' : ` (${count} times)`
    say(
      `  ${printable(host)} ${printable(action)}: ${printable(code)}${times}\n      ${printable(remedy({ ...nothing, code, workload, host, action }))}`,
    )
  }
}

export const handsOverMs = 5_000
/** Programs that ask an instance that already runs to do the work, and end: what that starts is in no run. */
const handsOver: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['code', 'code-insiders', 'codium', 'cursor', 'windsurf', 'zed'].map((name) => [name, 'vscode'])),
  ...Object.fromEntries(['idea', 'pycharm', 'webstorm', 'goland', 'rubymine', 'clion', 'phpstorm'].map((name) => [name, 'jetbrains'])),
  ...Object.fromEntries(
    ['tmux', 'screen', 'google-chrome', 'chromium', 'chromium-browser', 'firefox', 'gnome-terminal', 'xdg-open', 'emacsclient'].map(
      (name) => [name, ''],
    ),
  ),
}

export function sayHandedOver(command: string, say: (line: string) => void): void {
  const name = basename(command)
  if (!Object.hasOwn(handsOver, name)) return
  const settings = handsOver[name] === '' ? '' : `, or see \`ostiary env --for ${handsOver[name]}\``
  say(`${name} ended at once: it may have handed over to one that already runs, which is outside this run and is not brokered`)
  say(`close that one first and start it again by \`ostiary run\`${settings}`)
}
