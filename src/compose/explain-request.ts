// What would become of a request, in words: for `ostiary explain`.
import { parseAuthority } from '../accept/canonical.ts'
import type { Explained } from '../endpoints/admin/admin.ts'
import type { Clock } from '../model/clock.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal, type RefusalCode, refusals } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import type { BrokerWorld } from './broker-world.ts'
import type { Revocations } from './revocations.ts'
import { chooseCredential } from './world.ts'

interface Beside {
  readonly clock: Clock
  readonly revocations: Pick<Revocations, 'workloads' | 'credentials'>
}

export async function explainRequest(
  world: BrokerWorld,
  asked: Explained,
  { clock, revocations }: Beside,
): Promise<Readonly<Record<string, unknown>>> {
  const workload = world.config.workloads.find((one) => one.name === asked.workload)
  if (workload === undefined)
    throw new Error(`there is no workload ${asked.workload}; one of: ${world.config.workloads.map((one) => one.name).join(', ') || 'none'}`)
  const url = new URL(asked.url)
  const scheme = url.protocol === 'http:' ? 'http' : 'https'
  const { host, port } = parseAuthority(url.host, scheme === 'https' ? 443 : 80)
  const service = world.services.find(scheme, host, port)
  if (service === null) {
    const { says, mend } = refusals['accept.host_unmanaged']
    return { permitted: false, code: 'accept.host_unmanaged', policies: [], facts: {}, says: [says, mend] }
  }
  const action = world.services.action(service, asked.method, url.pathname, { host, query: url.search })
  const repository = world.services.repository(service, host, url.pathname)
  const target: Target = {
    scheme,
    host,
    port,
    method: asked.method,
    path: url.pathname,
    query: url.search,
    service: service.name,
    action,
    way: 'connect',
    ...(repository === undefined ? {} : { repository }),
  }
  const identity: Identity = {
    workload: workload.name,
    spiffeId: `spiffe://${world.config.trustDomain}${workload.path}`,
    groups: workload.groups,
    labels: { ...workload.labels, ...asked.labels },
    proven: {},
    provider: 'process',
    run: null,
    custody: 'namespace',
    expiresAt: clock.now() + 60_000,
    key: `explain ${workload.name}`,
    onThisHost: true,
    address: '127.0.0.1',
  }
  const known = asked.body === undefined ? {} : { body: Buffer.from(asked.body) }
  const explained = await world.decider.explain(identity, target, known)
  const credential = credentialSays(world, identity, service)
  const revoked = revokedOf(revocations, workload.name, explained.permitted ? explained.credential : null)
  return {
    ...explained,
    ...(revoked === null ? {} : { permitted: false, code: revoked.code }),
    says: [
      `${workload.name} asks ${service.name} for ${action} (${asked.method} ${host}${url.pathname}).`,
      ...(revoked === null ? [] : [revoked.says]),
      ...explained.reasons,
      ...explained.missing,
      credential,
      ...(workload.observeUntil === null || clock.now() > workload.observeUntil || action === 'mint' || action.startsWith('mint.')
        ? []
        : [`${workload.name} is only observed: a no of policy is recorded and the call is let through.`]),
    ],
  }
}

/** A workload is refused before policy is asked, a credential after. */
function revokedOf(
  { workloads, credentials }: Beside['revocations'],
  workload: string,
  credential: string | null,
): { readonly code: RefusalCode; readonly says: string } | null {
  const told = (code: RefusalCode, what: string, name: string, at: number) => ({
    code,
    says: `It would be refused: ${what} ${name} was revoked at ${new Date(at).toISOString()}; \`ostiary revoke ${what} ${name} --undo\` takes that back.`,
  })
  const byWorkload = workloads.get(workload)
  if (byWorkload !== undefined) return told('flow.revoked', 'workload', workload, byWorkload)
  const byCredential = credential === null ? undefined : credentials.get(credential)
  return credential === null || byCredential === undefined ? null : told('obtain.revoked', 'credential', credential, byCredential)
}

function credentialSays(world: BrokerWorld, identity: Identity, service: Parameters<typeof chooseCredential>[2]): string {
  try {
    const name = chooseCredential(world.config, identity, service)
    return name === null
      ? 'The service takes no credential.'
      : `The credential would be ${name} (${world.credentials.get(name)?.rule.kind}).`
  } catch (error) {
    return error instanceof Refusal ? `${error.says} ${error.detail}` : String(error)
  }
}
