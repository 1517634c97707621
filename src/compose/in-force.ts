// What is in force and how the next configuration becomes it: all or nothing, on command or when a file changed.
// It must never let a call go on that the new configuration refuses (invariant 8).
import type { Config } from '../config/config.ts'
import { limits } from '../model/limits.ts'
import { createObtain, type Obtain } from '../obtain/obtain.ts'
import type { Ground } from './ground.ts'
import { loadConfig } from './kinds.ts'
import { watchFiles } from './watch-files.ts'
import { createWorld, type World, type WorldHosts } from './world.ts'

export interface InForce {
  readonly config: Config
  readonly world: World
  readonly obtain: Obtain
  /** Throws ConfigMistakes; the last good configuration stays in force. With `showOnly` nothing changes. */
  reload(showOnly: boolean): Promise<Readonly<Record<string, unknown>>>
  /** Why the changed files are not in force; null where they are. */
  readonly lastReload: string | null
  close(): void
}

export interface InForceParts {
  readonly first: Config
  readonly configFile: string | null
  readonly ground: Ground
  readonly hosts: WorldHosts
  /** Told before the new world serves anybody. */
  readonly changed: (next: Config) => void
}

export function createInForce({ first, configFile, ground, hosts, changed }: InForceParts): InForce {
  let config = first
  let world = createWorld(config, hosts)
  let obtain = obtainFor(world)
  let lastReload: string | null = null

  function obtainFor(of: World): Obtain {
    const providers = [...of.credentials].map(([name, { rule, provider }]) => ({
      ...{ name, kind: rule.kind, provider, leaseMs: rule.leaseMs },
    }))
    return createObtain(providers, ground.clock, ground.log)
  }

  async function bring(next: Config, made: World): Promise<readonly string[]> {
    const changes = changesBetween(config, next)
    await ground.records.administration('configuration', `reload: ${changes.join('; ') || 'nothing changed'}`, {
      policyVersion: made.decider.version,
    })
    const old = { obtain, credentials: config.credentials }
    config = next
    changed(next)
    world = made
    obtain = obtainFor(made)
    ground.log.level(next.logLevel)
    for (const rule of old.credentials) {
      const now = next.credentials.find((one) => one.name === rule.name)
      if (JSON.stringify(now) !== JSON.stringify(rule)) old.obtain.revoke({ credential: rule.name })
    }
    await cutWhatIsRefusedNow(ground, made)
    setTimeout(() => old.obtain.retire(), limits.revokeMs).unref()
    return changes
  }

  async function reload(showOnly: boolean): Promise<Readonly<Record<string, unknown>>> {
    const next = loadConfig(configFile, config.dataDir)
    const made = createWorld(next, hosts)
    const changes = showOnly ? changesBetween(config, next) : await bring(next, made)
    if (!showOnly) lastReload = null
    return { ok: true, changes, version: made.decider.version }
  }

  const watcher = watchFiles(
    () => config,
    async () => {
      lastReload = await reloadUnseen(ground, () => reload(false))
      if (lastReload !== null) ground.log.warn(lastReload)
    },
  )
  return {
    get config() {
      return config
    },
    get world() {
      return world
    },
    get obtain() {
      return obtain
    },
    get lastReload() {
      return lastReload
    },
    reload,
    close() {
      watcher.close()
      obtain.close()
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

/** Calls under way that the new configuration would refuse are cut. */
async function cutWhatIsRefusedNow(ground: Ground, made: World): Promise<void> {
  for (const entry of [...ground.live.all()]) {
    try {
      const identity = await made.identify(entry.call.connection.evidence, AbortSignal.timeout(limits.revokeMs))
      if ('head' in entry.call) await made.decider.decide(entry.call, identity)
      else await made.decider.decideTunnel(entry.call, identity)
    } catch {
      ground.live.cutWhere((one) => one === entry)
    }
  }
}

const sections = ['workloads', 'services', 'tunnels', 'credentials', 'conditions', 'trustProviders', 'policies', 'egress'] as const

function changesBetween(old: Config, next: Config): readonly string[] {
  const changes: string[] = sections
    .filter((section) => JSON.stringify(old[section]) !== JSON.stringify(next[section]))
    .map((section) => `${section} changed`)
  for (const section of ['listen', 'trustDomain', 'audit'] as const)
    if (JSON.stringify(old[section]) !== JSON.stringify(next[section])) changes.push(`${section} changed: in force after a restart only`)
  return changes
}
