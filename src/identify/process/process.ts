// Trust provider `process`: judges the kernel's facts of the peer. Pure: touches no socket and no /proc, believes nothing that
// a process says about itself. Where no single process is known, only the uid that the kernel stored with the socket counts.
import { z } from 'zod'
import type { ProcessFacts } from '../../model/evidence.ts'
import type { Attributes } from '../../model/identity.ts'
import { Refusal } from '../../model/refusal.ts'
import type { TrustKind } from '../trust-provider.ts'

const schema = z.strictObject({})

const rule = z.strictObject({
  /** Name or uid. */
  user: z.union([z.string().min(1).max(64), z.int().min(0).max(0xffffffff)]).optional(),
  systemUnit: z.string().min(1).max(256).optional(),
  container: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'write the full id of the container, 64 hex digits')
    .optional(),
  executable: z.string().startsWith('/').max(4096).optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'write the SHA-256 as 64 lower-case hex digits')
    .optional(),
  /** true: only inside a run of this workload. */
  underRun: z.boolean().optional(),
})

export type ProcessRule = z.infer<typeof rule>

export const processKind: TrustKind<z.infer<typeof schema>, ProcessRule> = {
  name: 'process',
  summary: 'Kernel facts of the process that owns the connection (Linux).',
  schema,
  rule,

  start(_config, host, name) {
    return {
      async verify({ peer }, signal) {
        if (signal.aborted) throw new Refusal('identify.process_unknown', 'the check was stopped', signal.reason)
        const attributes = peer.process === null ? (peer.uid === null ? null : { uid: String(peer.uid) }) : attributesOf(peer.process)
        if (attributes === null) return null
        return { provider: name, attributes, expiresAt: host.clock.now() + host.limits.identityMs, run: null }
      },
    }
  },

  checkRule({ user, systemUnit, container, underRun }) {
    if (user !== undefined || systemUnit !== undefined || container !== undefined || underRun === true) return []
    return ['The rule has no anchor: name a user, a systemUnit or a container. An executable or its hash only narrows a rule.']
  },

  fits(rule, attributes) {
    if (processKind.checkRule(rule).length > 0) return false
    const { user, systemUnit, container, executable, sha256, underRun } = rule
    const is = (wanted: string | undefined, name: string): boolean => wanted === undefined || attributes[name] === wanted
    return (
      (user === undefined || (typeof user === 'number' ? attributes.uid === String(user) : attributes.user === user)) &&
      is(systemUnit, 'systemUnit') &&
      is(container, 'containerId') &&
      is(executable, 'executable') &&
      is(sha256, 'executableSha256') &&
      (underRun === undefined || (attributes.run !== undefined) === underRun)
    )
  },
}

/** What could not be found out is absent, never empty: an absent attribute fits no rule. */
function attributesOf(process: ProcessFacts): Attributes {
  const { uid, gid, pid, user, executable, executableSha256, systemUnit, containerId, cgroup } = process
  const all = { uid: String(uid), gid: String(gid), pid: String(pid), user, executable, executableSha256, systemUnit, containerId, cgroup }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''))
}
