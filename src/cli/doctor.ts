// doctor: what this machine can and cannot do for Ostiary, each with what to do about it.
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { probeSandbox } from '../launch/sandbox.ts'
import { kernelIsAsked } from '../net/kernel.ts'
import { ask } from './admin-client.ts'
import type { Context } from './context.ts'
import { paint, printable } from './print.ts'

interface Finding {
  readonly what: string
  readonly ok: boolean
  readonly says: string
}

export async function doctor(context: Context): Promise<number> {
  const findings = [...machine(), clone(), ...(await installation(context))]
  context.out.value({ ok: findings.every((one) => one.ok), findings }, () => {
    for (const { what, ok, says } of findings)
      context.out.line(`${ok ? paint('green', 'ok  ') : paint('yellow', 'look')} ${what.padEnd(16)} ${printable(says)}`)
  })
  return findings.every((one) => one.ok) ? 0 : 1
}

function machine(): readonly Finding[] {
  const linux = process.platform === 'linux'
  const sandbox = linux ? probeSandbox(process.getuid?.() ?? -1) : { custody: 'shared-user', why: `${process.platform} has none` }
  return [
    { what: 'node', ok: true, says: process.version },
    {
      what: 'kernel',
      ok: linux && kernelIsAsked(),
      says: !linux
        ? `process evidence needs Linux; this is ${process.platform}`
        : kernelIsAsked()
          ? 'asked directly who owns a connection'
          : 'node:ffi is absent: /proc/net/tcp answers, slower',
    },
    {
      what: 'namespaces',
      ok: sandbox.custody === 'namespace',
      says:
        sandbox.custody === 'namespace'
          ? 'a run gets its own mount and PID namespace'
          : `runs are shared-user here (${sandbox.why}): allow user namespaces, or run Ostiary as another user`,
    },
  ]
}

/** `bin/ostiary.mjs` works for every user who can read the clone; some put it into a home that others cannot enter. */
function clone(): Finding {
  let at = fileURLToPath(new URL('../..', import.meta.url))
  const first = at
  for (;;) {
    if ((statSync(at).mode & 0o001) === 0)
      return { what: 'program', ok: false, says: `other users cannot enter ${at}: they cannot use bin/ostiary.mjs of this clone` }
    const up = join(at, '..')
    if (up === at) return { what: 'program', ok: true, says: `every user may run ${join(first, 'bin', 'ostiary.mjs')}` }
    at = up
  }
}

async function installation({ dataDir, configFile }: Context): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  const { loadConfig } = await import('../compose/kinds.ts')
  try {
    const config = loadConfig(configFile, dataDir)
    findings.push({
      what: 'configuration',
      ok: configFile !== null,
      says: configFile === null ? 'there is none: everything is refused' : `${config.file}: no mistakes`,
    })
    const { custodyWarnings } = await import('../config/custody.ts')
    for (const warning of custodyWarnings(config)) findings.push({ what: 'custody', ok: false, says: warning })
  } catch (error) {
    findings.push({ what: 'configuration', ok: false, says: `${(error as Error).message}: see \`ostiary check\`` })
  }
  if (existsSync(dataDir)) {
    const open = (statSync(dataDir).mode & 0o077) !== 0
    findings.push({ what: 'data', ok: !open, says: open ? `${dataDir} can be entered by others: chmod 700 ${dataDir}` : dataDir })
  }
  const status = await ask(dataDir, 'GET', '/status', undefined, 3_000).catch(() => null)
  findings.push({
    what: 'server',
    ok: status !== null,
    says: status === null ? 'not running: `ostiary start`' : `running, pid ${status.body.pid}`,
  })
  return findings
}
