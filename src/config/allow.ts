// One line more in a configuration: the text of a file in, the text with a service, a tunnel and a policy added out. Comments and
// everything else stay. It must never change or take away what is written: what stands there already is a mistake of the caller.
import { isMap, isNode, isScalar, isSeq, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml'

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

/** Throws an Error that says what to do where the file has another form than ours. Nothing that stands there is written anew. */
export function withAddition(text: string, addition: Addition): string {
  const { service, tunnel, host } = addition
  let made = text
  if (service !== null) {
    const entry = service.inCatalog
      ? `${service.name}: {}`
      : `${service.name}: { hosts: [${host}], credential: none, methods: [GET, HEAD] }`
    made = inserted(made, 'services', 'map', [entry], entry)
  }
  if (tunnel !== null) {
    const entry = `{ host: ${host}, reason: ${JSON.stringify(tunnel)} }`
    made = inserted(made, 'tunnels', 'list', [`- ${entry}`], entry)
  }
  const policy = policyText(addition)
  const lines = [
    '- cedar: |',
    ...policy
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
  ]
  return inserted(made, 'policies', 'list', lines, `{ cedar: ${JSON.stringify(policy)} }`)
}

export function policyText({ host, workload, policy }: Pick<Addition, 'host' | 'workload' | 'policy'>): string {
  const { action, resource } = policy
  // `mint` and `tunnel` lie below nothing: a permit must name them.
  return `@id(${JSON.stringify(`${workload} may ${action} at ${host}`)})
permit (principal == Workload::${JSON.stringify(workload)}, action in Action::${JSON.stringify(action)}, resource == ${resource});
`
}

/** At the end of a section: `lines` where it stands in blocks, `flow` where it stands in brackets. */
function inserted(text: string, name: string, form: 'map' | 'list', lines: readonly string[], flow: string): string {
  const document = parseDocument(text, { version: '1.2', merge: false, logLevel: 'error' })
  if (document.errors.length > 0) throw new Error('the file is not YAML: see `ostiary check`')
  const block = (indent: number): string => lines.map((line) => `${' '.repeat(indent)}${line}\n`).join('')
  const pair = isMap(document.contents) ? document.contents.items.find(({ key }) => isScalar(key) && key.value === name) : undefined
  if (pair === undefined) return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${name}:\n${block(2)}`
  const { value, key } = pair
  if (value === null || (isScalar(value) && value.value === null)) return atLine(text, rangeOf(key)[1], block(2))
  if (form === 'map' ? !isMap(value) : !isSeq(value))
    throw new Error(`${name} has another form than this can add to: write the line by hand`)
  const section = value as YAMLMap | YAMLSeq
  if (section.flow === true) {
    const close = rangeOf(section)[1] - 1
    return `${text.slice(0, close).trimEnd()}${section.items.length === 0 ? ' ' : ', '}${flow} ${text.slice(close)}`
  }
  const begin = rangeOf(section)[0]
  return atLine(text, rangeOf(section)[1], block(begin - text.lastIndexOf('\n', begin - 1) - 1))
}

function rangeOf(node: unknown): readonly [number, number, number] {
  if (!isNode(node) || !node.range) throw new Error('the file has another form than this can add to: write the line by hand')
  return node.range
}

/** Puts whole lines behind the line in which `at` lies, or where a line begins. */
function atLine(text: string, at: number, lines: string): string {
  if (at > 0 && text[at - 1] === '\n') return text.slice(0, at) + lines + text.slice(at)
  const end = text.indexOf('\n', at)
  return end === -1 ? `${text}\n${lines}` : text.slice(0, end + 1) + lines + text.slice(end + 1)
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
