// The configuration that init writes: a few lines that a person understands and can delete. It never changes one that is there;
// what that one lacks is said as lines to add.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import type { Config } from '../../config/config.ts'

export interface Wanted {
  readonly service: string
  readonly setUpToken: boolean
}

/** How a key of a service reaches an agent that this user starts. */
export interface Route {
  readonly workload: string
  readonly secret: string
}

const workloadName = 'coder'

/** The route that the configuration has for the service and this kind of key; null where it has none. */
export function routeOf(config: Config, wanted: Wanted, starter: readonly string[]): Route | null {
  for (const workload of config.workloads) {
    if (workload.run?.startedBy.some((name) => starter.includes(name)) !== true) continue
    for (const rule of config.credentials) {
      const { secret, slot } = rule.config as { readonly secret?: unknown; readonly slot?: unknown }
      const fits = rule.service === wanted.service && rule.for.some((name) => name === workload.name || workload.groups.includes(name))
      if (fits && rule.kind === 'static-key' && typeof secret === 'string' && (slot === 'bearer') === wanted.setUpToken)
        return { workload: workload.name, secret }
    }
  }
  return null
}

/** Writes `file` and policies/coder.cedar beside it. Throws where either is there already. */
export function writeConfiguration(
  file: string,
  wanted: readonly Wanted[],
  user: string,
  egress: readonly string[] = [],
): readonly string[] {
  const policies = join(dirname(file), 'policies')
  const policyFile = join(policies, `${workloadName}.cedar`)
  for (const one of [file, policyFile])
    if (existsSync(one)) throw new Error(`${one} is there already and init overwrites nothing: move it away`)
  for (const folder of [dirname(file), policies]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(policyFile, policyLines(wanted), { flag: 'wx', mode: 0o600 })
  try {
    writeFileSync(file, fileLines(wanted, user, egress), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    rmSync(policyFile, { force: true })
    throw error
  }
  return [file, policyFile]
}

function fileLines(wanted: readonly Wanted[], user: string, egress: readonly string[]): string {
  return `# Written by \`ostiary init\`. Each line may be changed or deleted; \`ostiary check\` says what is wrong, \`ostiary reload\` brings
# it into force.
trustDomain: ${trustDomain()}
${egress.map((line) => `${line}\n`).join('')}workloads:
  # What you start by \`ostiary run -- COMMAND\`.
  ${workloadName}: { run: { startedBy: [${JSON.stringify(user)}] } }
services:
${wanted.map(({ service }) => `  ${service}: {}\n`).join('')}credentials:
${wanted.map((one) => `  ${credentialLine(one)}\n`).join('')}policies: [policies/*.cedar]
`
}

function credentialLine({ service, setUpToken }: Wanted): string {
  const slot = setUpToken ? ', slot: bearer' : ''
  return `${service}: { service: ${service}, for: [${workloadName}], static-key: { secret: ${service}${slot} } }`
}

function policyLines(wanted: readonly Wanted[]): string {
  return `// Written by \`ostiary init\`: what agents that you start may do. Without a permit the answer is no, and a forbid outdoes every
// permit. Delete a rule and \`ostiary reload\`.
${wanted.map(({ service }) => permitLines(service)).join('')}
// A key that an agent made for itself would outlive every rule here.
@id("nobody mints keys")
forbid (principal, action in Action::"mint", resource);

@id("nobody administers an account")
forbid (principal, action in Action::"admin", resource);
`
}

function permitLines(service: string): string {
  const [id, actions] =
    service === 'github'
      ? ['may use GitHub and git', '[Action::"state", Action::"git.fetch", Action::"git.push"]']
      : [`may ask the models of ${service}`, 'Action::"inference"']
  return `
@id("${workloadName} ${id}")
permit (principal == Workload::"${workloadName}", action in ${actions}, resource == Service::"${service}");
`
}

/** Lines to add by hand where a configuration is there and lacks a route. */
export function linesToAdd(wanted: readonly Wanted[], user: string): readonly string[] {
  return [
    'workloads:',
    `  ${workloadName}: { run: { startedBy: [${JSON.stringify(user)}] } }`,
    'services:',
    ...wanted.map(({ service }) => `  ${service}: {}`),
    'credentials:',
    ...wanted.map((one) => `  ${credentialLine(one)}`),
    'policies:',
    '  - cedar: |',
    ...wanted.flatMap(({ service }) =>
      permitLines(service)
        .trim()
        .split('\n')
        .map((line) => `      ${line}`),
    ),
  ]
}

/** RFC 8375: names below home.arpa are this home's own and nobody else's. */
function trustDomain(): string {
  const label = hostname()
    .toLowerCase()
    .replace(/\..*$/, '')
    .replace(/[^a-z0-9-]/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 60)
  return `${label === '' ? 'laptop' : label}.home.arpa`
}
