// The matrix path × check: which check stands on which way in, and where its test is. paths.test.ts runs each cell that says `here`;
// docs/reference/paths.md is written from this table, and a test fails where a cell has neither a test nor a reason.

export const ways = [
  'connect',
  'connect h2',
  'connect websocket',
  'base',
  'base h2',
  'base websocket',
  'absolute',
  'transparent',
  'transparent h2',
  'transparent websocket',
  'tunnel',
] as const

export type Way = (typeof ways)[number]

/** `here`: paths.test.ts runs it on this way. `at`: file and title of another test. `none`: why it cannot stand there. */
export type Cell = 'here' | { readonly at: string } | { readonly none: string }

export interface Check {
  readonly says: string
  /** Of DESIGN, part 6. */
  readonly invariant: number
  /** Ways that are not run here; every other one is, so that a new way has to be tried with each check. */
  readonly but?: Partial<Readonly<Record<Way, Exclude<Cell, 'here'>>>>
}

const none = (why: string) => ({ none: why })
const at = (file: string, title: string) => ({ at: `${file}: ${title}` })

const clear = none('a service in clear takes no credential at all')
const sealed = none('what passes in a tunnel is not read, and nothing of ours is put into it')
const noPath = none('a tunnel has a host and nothing else')

export const checks = {
  identity: {
    says: 'a process outside the run is nobody, with the pointer and the placeholders of the run too',
    invariant: 10,
    but: {
      transparent: at('test/scenarios/isolate.test.ts', 'another run is not to be had'),
      'transparent h2': none('the door is that of `transparent`, before a protocol is spoken'),
      'transparent websocket': none('the door is that of `transparent`, before a protocol is spoken'),
    },
  },
  'policy by action': {
    says: 'an action that no policy permits is refused',
    invariant: 2,
    but: { tunnel: none('a tunnel is one action') },
  },
  'policy by host': { says: 'a host that a policy forbids is refused, on the same listener', invariant: 2 },
  'policy by model': {
    says: 'a model that a policy forbids is refused, wherever the request names it',
    invariant: 13,
    but: { absolute: none('no service in clear of the catalog names a model'), tunnel: sealed },
  },
  'one slot filled': {
    says: 'the credential stands in exactly one slot; every other slot, cookies and the placeholder are gone',
    invariant: 4,
    but: { absolute: clear, tunnel: sealed },
  },
  'placeholder needed': {
    says: 'without the placeholder nothing is injected or sent',
    invariant: 4,
    but: { absolute: clear, tunnel: sealed },
  },
  'foreign placeholder': {
    says: 'a placeholder of another service or in another place is refused, and counts towards the suspension of who sent it',
    invariant: 17,
    but: { tunnel: sealed },
  },
  'foreign credential': { says: 'a key that is not ours is refused in a header and in the query', invariant: 4, but: { tunnel: sealed } },
  'ambiguous path': { says: 'a path that could be read in two ways is refused', invariant: 3, but: { tunnel: noPath } },
  'authority disagreement': { says: 'names of the host that do not agree are refused (421), and nothing is sent', invariant: 3 },
  'private address': { says: 'a host that resolves to an address of this network is not dialled', invariant: 6 },
  'method override': { says: 'a field that changes the method behind policy is refused', invariant: 3, but: { tunnel: sealed } },
  'answer scrubbed': {
    says: 'a credential that comes back plain, compressed or piece by piece does not reach the agent',
    invariant: 1,
    but: { absolute: clear, tunnel: sealed },
  },
  'intent before effect': { says: 'when the first byte is there, the intent is on the disk', invariant: 7 },
  revocation: { says: 'a policy that comes into force cuts what is under way, within a second', invariant: 8 },
  suspension: { says: 'three attempts by one way suspend the run on all of them', invariant: 17 },
  limits: {
    says: 'a head over its limit is refused',
    invariant: 9,
    but: {
      tunnel: at(
        'src/accept/tunnel.test.ts',
        'a hello for another host, with ECH, without SNI, that is none, too large or too late is not relayed',
      ),
    },
  },
  'no redirect': { says: 'a redirect is passed on and not followed', invariant: 5, but: { tunnel: sealed } },
  'web page': {
    says: 'what a browser sends for a web page is refused',
    invariant: 4,
    but: {
      ...Object.fromEntries(
        ['connect', 'connect h2', 'connect websocket', 'transparent', 'transparent h2', 'transparent websocket'].map((way) => [
          way,
          at('src/inject/inject.test.ts', 'outside a run a web page is refused'),
        ]),
      ),
      absolute: clear,
      tunnel: sealed,
    },
  },
  'problem document': { says: 'a refusal is an RFC 9457 document with a stable code and the id of its record', invariant: 16 },
  'record complete': {
    says: 'intent and outcome name run, way, host, action, policies and credential',
    invariant: 7,
  },
} as const satisfies Readonly<Record<string, Check>>

export type CheckName = keyof typeof checks

export function cellOf(name: CheckName, way: Way): Cell {
  const { but }: Check = checks[name]
  return but?.[way] ?? 'here'
}

/** Cells that nothing stands for. `titleOf` says whether a file has a test of this title. */
export function holes(hasTest: (file: string, title: string) => boolean): readonly string[] {
  return (Object.keys(checks) as CheckName[]).flatMap((name) =>
    ways.flatMap((way) => {
      const cell = cellOf(name, way)
      if (cell === 'here') return []
      if ('none' in cell) return cell.none === '' ? [`${name} × ${way}: no reason`] : []
      const [file, title] = cell.at.split(/: (.*)/s) as [string, string]
      return hasTest(file, title) ? [] : [`${name} × ${way}: no such test: ${cell.at}`]
    }),
  )
}
