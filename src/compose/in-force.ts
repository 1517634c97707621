// What is in force and how the next configuration becomes it: all or nothing, on command or when a file changed.
import type { Config } from '../config/config.ts'
import { type BrokerWorld, createBrokerWorld, type WorldHosts } from './broker-world.ts'
import type { Ground } from './ground.ts'
import { loadConfig } from './kinds.ts'
import { createStanding, type Standing } from './standing.ts'
import { watchFiles } from './watch-files.ts'

export interface InForce extends Omit<Standing<BrokerWorld>, 'bring'> {
  /** Throws ConfigMistakes; the last good configuration stays in force. With `showOnly` nothing changes. */
  reload(showOnly: boolean): Promise<Readonly<Record<string, unknown>>>
  /** Why the changed files are not in force; null where they are. */
  readonly lastReload: string | null
}

export interface InForceParts {
  readonly first: Config
  readonly configFile: string | null
  readonly ground: Ground
  readonly hosts: WorldHosts
  /** Told before the new world serves anybody. */
  readonly changed: (next: Config) => void
  /** It is in force here: brings it into force in every further process. */
  readonly spread: (next: Config) => Promise<void>
}

export function createInForce({ first, configFile, ground, hosts, changed, spread }: InForceParts): InForce {
  const standing = createStanding({
    ...ground,
    first: createBrokerWorld(first, hosts),
    leased: ({ credentials }) =>
      [...credentials].map(([name, { rule, provider }]) => ({ name, kind: rule.kind, provider, leaseMs: rule.leaseMs })),
  })
  let lastReload: string | null = null

  async function bring(next: Config, made: BrokerWorld): Promise<readonly string[]> {
    const changes = changesBetween(standing.config, next)
    await ground.records.administration('configuration', `reload: ${changes.join('; ') || 'nothing changed'}`, {
      policyVersion: made.decider.version,
    })
    changed(next)
    ground.log.level(next.logLevel)
    await standing.bring(made)
    await spread(next)
    return changes
  }

  async function reload(showOnly: boolean): Promise<Readonly<Record<string, unknown>>> {
    const next = loadConfig(configFile, standing.config.dataDir)
    const made = createBrokerWorld(next, hosts)
    const changes = showOnly ? changesBetween(standing.config, next) : await bring(next, made)
    if (!showOnly) lastReload = null
    return { ok: true, changes, version: made.decider.version }
  }

  const watcher = watchFiles(
    () => standing.config,
    async () => {
      lastReload = await reloadUnseen(ground, () => reload(false))
      if (lastReload !== null) ground.log.warn(lastReload)
    },
  )
  return {
    get config() {
      return standing.config
    },
    get world() {
      return standing.world
    },
    get obtain() {
      return standing.obtain
    },
    get lastReload() {
      return lastReload
    },
    reload,
    close() {
      watcher.close()
      standing.close()
    },
  }
}

/** A file changed and nobody asked: why it is not in force, or null where it is. */
async function reloadUnseen({ runs, log }: Ground, reload: () => Promise<Readonly<Record<string, unknown>>>): Promise<string | null> {
  // While an agent could write the file, a change comes into force only on command (DESIGN part 5).
  const shared = runs.list().find((run) => run.state !== 'ended' && run.custody === 'shared-user')
  if (shared !== undefined)
    return `the configuration changed while ${shared.id} runs with custody shared-user: look at it, then \`ostiary reload\``
  try {
    log.info('configuration in force', { version: (await reload())['version'] })
    return null
  } catch (error) {
    return `the changed configuration is not in force: ${(error as Error).message}; see \`ostiary check\``
  }
}

const sections = ['workloads', 'services', 'tunnels', 'credentials', 'conditions', 'trustProviders', 'policies', 'egress'] as const

function changesBetween(old: Config, next: Config): readonly string[] {
  const changes: string[] = sections
    .filter((section) => JSON.stringify(old[section]) !== JSON.stringify(next[section]))
    .map((section) => `${section} changed`)
  for (const section of ['listen', 'processes', 'trustDomain', 'audit'] as const)
    if (JSON.stringify(old[section]) !== JSON.stringify(next[section])) changes.push(`${section} changed: in force after a restart only`)
  return changes
}
