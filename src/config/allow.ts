// One line more in a configuration: the text of a file in, the text with a service, a tunnel and a policy added out. Comments and
// everything else stay. It must never change or take away what is written: what stands there already is a mistake of the caller.
import { isMap, isSeq, parseDocument, Scalar, YAMLMap, type YAMLSeq } from 'yaml'

export interface Addition {
  readonly host: string
  readonly workload: string
  /** A service to write: of the catalog, or a new one without a credential, for reading only; null where it is there. */
  readonly service: { readonly name: string; readonly inCatalog: boolean } | null
  /** The resource and the action that the policy names. */
  readonly policy: { readonly resource: string; readonly action: string }
  /** Why the host is passed unread; null where it is not. */
  readonly tunnel: string | null
}

/** Throws an Error that says what to write by hand where the file has another form than ours. */
export function withAddition(text: string, addition: Addition): string {
  const document = parseDocument(text, { version: '1.2', merge: false, logLevel: 'error' })
  if (document.errors.length > 0) throw new Error('the file is not YAML: see `ostiary check`')
  const { service, tunnel, host } = addition
  if (service !== null) {
    const services = section(document, 'services', 'map') as YAMLMap
    const made = service.inCatalog ? {} : { hosts: [host], credential: 'none', methods: ['GET', 'HEAD'] }
    services.set(document.createNode(service.name), document.createNode(made, { flow: true }))
  }
  if (tunnel !== null) {
    const tunnels = section(document, 'tunnels', 'seq') as YAMLSeq
    tunnels.add(document.createNode({ host, reason: tunnel }, { flow: true }))
  }
  const policy = new Scalar(policyText(addition))
  policy.type = Scalar.BLOCK_LITERAL
  const policies = section(document, 'policies', 'seq') as YAMLSeq
  const item = new YAMLMap()
  item.set('cedar', policy)
  policies.add(item)
  return document.toString({ lineWidth: 0 })
}

export function policyText({ host, workload, policy }: Pick<Addition, 'host' | 'workload' | 'policy'>): string {
  const { action, resource } = policy
  // `mint` and `tunnel` lie below nothing: a permit must name them.
  return `@id(${JSON.stringify(`${workload} may ${action} at ${host}`)})
permit (principal == Workload::${JSON.stringify(workload)}, action in Action::${JSON.stringify(action)}, resource == ${resource});
`
}

function section(document: ReturnType<typeof parseDocument>, name: string, form: 'map' | 'seq'): unknown {
  const found = document.get(name, true)
  if (form === 'map' ? isMap(found) : isSeq(found)) {
    // In a list on one line there is no room for a policy of several.
    if (form === 'seq' && isSeq(found)) found.flow = false
    return found
  }
  const empty = found === undefined || (found instanceof Scalar && found.value === null)
  if (!empty) throw new Error(`${name} has another form than this command can add to: write the line by hand`)
  const made = document.createNode(form === 'map' ? {} : [])
  document.set(name, made)
  return made
}

/** What changed, line by line, as `-old` and `+new`. */
export function difference(before: string, after: string): readonly string[] {
  const [old, next] = [before.split('\n'), after.split('\n')]
  const lines: string[] = []
  let at = 0
  for (const line of next) {
    const same = old.indexOf(line, at)
    if (same === -1) {
      lines.push(`+${line}`)
      continue
    }
    lines.push(...old.slice(at, same).map((gone) => `-${gone}`))
    at = same + 1
  }
  return [...lines, ...old.slice(at).map((gone) => `-${gone}`)].filter((line) => line.length > 1)
}
