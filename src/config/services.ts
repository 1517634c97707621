// A service as the file writes it, completed by the catalog where the catalog knows it.
import { scopeOf } from '../model/scope.ts'
import type { Service, Slot } from '../model/service.ts'
import { meant } from './nearest.ts'
import type { Reading } from './reading.ts'
import type { ServiceShape } from './shape.ts'

const unknownToCatalog: Omit<Service, 'name' | 'hosts'> = {
  port: 443,
  scheme: 'https',
  slots: [],
  credential: 'required',
  placeholder: 'required',
  methods: [],
  actions: [],
  basePrefix: '',
  allowPrivateAddresses: false,
  origins: [],
  cookies: [],
  keyPrefix: '',
  keyVariables: [],
  baseUrlVariables: [],
  modelField: null,
  modelPath: null,
  toolsField: null,
  tokenUrl: null,
}

export function serviceOf(reading: Reading, name: string, shape: ServiceShape, catalog: readonly Service[]): Service | null {
  const known = catalog.find((one) => one.name === name)
  const path = ['services', name]
  if (known === undefined && shape.hosts === undefined) {
    reading.wrong(
      path,
      `the catalog does not know ${name}, and no hosts are named`,
      `hosts: [api.${name}.example], slot: { header: X-Api-Key }   or, of the catalog, ${meant(
        name,
        catalog.map((one) => one.name),
      )}`,
    )
    return null
  }
  const base: Service = known ?? {
    ...unknownToCatalog,
    name,
    hosts: [],
    keyVariables: [`${name.toUpperCase().replaceAll('-', '_')}_API_KEY`],
  }
  const hosts = shape.hosts ?? base.hosts
  if (hosts.length === 0)
    reading.wrong(path, `${name} has hosts in each of its regions, and none is named`, 'hosts: [bedrock-runtime.us-east-1.amazonaws.com]')
  const signs = base.slots.some((slot) => slot.kind === 'sigv4')
  for (const [at, host] of hosts.entries())
    if (signs && scopeOf(base, host) === null)
      reading.wrong(
        [...path, 'hosts', at],
        `of ${host} neither region nor service is known, and requests are signed for both`,
        'an endpoint such as SERVICE.REGION.amazonaws.com',
      )
  const credential = shape.credential ?? base.credential
  const bound = known?.repositoryPaths !== undefined
  if (bound && shape.hosts !== undefined)
    reading.wrong([...path, 'hosts'], `the catalog knows ${name} by its own hosts`, `take the hosts out, or give the service another name`)
  const slots = shape.slot === undefined ? base.slots : [slotOf(shape.slot), ...base.slots]
  // Where the entry has a mistake of its own, what it lacks may be just that.
  const mistaken = reading.mistakes.some((one) => one.path.startsWith(`services.${name}.`))
  if (credential === 'required' && slots.length === 0 && !mistaken)
    reading.wrong(path, 'nothing says where its credential goes', 'slot: { header: X-Api-Key }   or   credential: none')
  const scheme = shape.scheme ?? base.scheme
  if (scheme === 'http' && credential === 'required')
    reading.wrong(path, 'a credential would be sent in clear', 'scheme: https   or   credential: none')
  return {
    ...base,
    hosts,
    scheme,
    port: shape.port ?? (shape.scheme === 'http' ? 80 : base.port),
    slots,
    credential,
    placeholder: shape.placeholder ?? base.placeholder,
    methods: shape.methods ?? base.methods,
    actions:
      shape.actions?.map((rule) => ({
        action: rule.action,
        path: rule.path,
        ...(rule.methods === undefined ? {} : { methods: rule.methods }),
      })) ?? base.actions,
    allowPrivateAddresses: shape.allowPrivateAddresses ?? base.allowPrivateAddresses,
    origins: shape.origins ?? base.origins,
    cookies: shape.cookies ?? base.cookies,
    keyVariables: shape.keyVariables ?? base.keyVariables,
  }
}

function slotOf(slot: NonNullable<ServiceShape['slot']>): Slot {
  if (slot === 'bearer' || slot === 'basic') return { kind: slot }
  return 'header' in slot ? { kind: 'header', name: slot.header } : { kind: 'query', name: slot.query }
}
