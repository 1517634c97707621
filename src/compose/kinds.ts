// The lists of kinds, and a configuration read with them.
import { catalog } from '../catalog/catalog.ts'
import type { Config } from '../config/config.ts'
import { type Kinds, readConfig } from '../config/read.ts'
import { conditionKinds } from '../decide/conditions.ts'
import { checkPolicies } from '../decide/policies.ts'
import { trustKinds } from '../identify/trust-providers.ts'
import { systemClock } from '../model/clock.ts'
import { credentialKinds } from '../obtain/credential-providers.ts'

export const kinds: Kinds = { trust: trustKinds, credential: credentialKinds, condition: conditionKinds }

/** For commands, which know no room but this one. */
export const catalogServices = catalog

/** Throws ConfigMistakes. */
export function loadConfig(file: string | null, dataDir: string | null): Config {
  return readConfig(file, {
    env: process.env,
    now: systemClock.now(),
    kinds,
    catalog,
    dataDir,
    checkPolicies: (config) => {
      const conditions = config.conditions.map((chosen) => {
        const kind = conditionKinds.find((one) => one.name === chosen.kind)
        return { name: chosen.name, shape: kind?.shape(chosen.config) ?? 'Bool' }
      })
      return checkPolicies(config.policies, { conditions, services: config.services, workloads: config.workloads })
    },
  })
}
