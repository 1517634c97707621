// An API that agents call: its hosts, the slots of a request that carry its credential, its paths as actions.

/** One place of a request where a credential can stand. Names are lower-case. */
export type Slot =
  | { readonly kind: 'bearer' } // Authorization: Bearer
  | { readonly kind: 'basic' } // Authorization: Basic
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'query'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string }
  | { readonly kind: 'subprotocol'; readonly prefix: string } // an entry of Sec-WebSocket-Protocol; only an agent fills it
  | { readonly kind: 'sigv4'; readonly scopes: readonly ScopeRule[] } // Authorization: AWS4-HMAC-SHA256; the agent's names a key, ours is a signature

/** What a signature of AWS is good for, beside its day. */
export interface SigningScope {
  readonly region: string
  readonly service: string
}

/** Which hosts are of which scope: the pattern's groups `region` and `service`, or what is named. */
export interface ScopeRule {
  readonly host: RegExp
  readonly region?: string
  readonly service?: string
}

export interface ActionRule {
  readonly action: string
  readonly methods?: readonly string[]
  /** `*` is one segment or a part of one, `**` is any rest. First rule that fits wins. */
  readonly path: string
  /** Only at these of the service's hosts; `sts.*` is every one that begins so. */
  readonly hosts?: readonly string[]
  /** Only with exactly this query, its `?` included. */
  readonly query?: string
}

/** A path at which a WebSocket may be opened, and how the agent's messages there are read: strict JSON objects. */
export interface SocketRule {
  readonly path: RegExp
  /** Query parameter of the upgrade that names the model. */
  readonly modelQuery: string | null
  /** Field that names a message; null: its only key does. */
  readonly typeField: string | null
  /** Messages that start nothing. Every other one is decided and recorded as a call. */
  readonly passing: readonly string[]
  /** Where a message names a model, dotted. The first is the model of the socket from then on. */
  readonly models: readonly string[]
  /** Objects, dotted, whose field `toolsField` may list tools; the empty name is the message itself. */
  readonly tools: readonly string[]
  /** Flags, dotted, by which a message asks for work that goes on after its answer. */
  readonly deferrals?: readonly string[]
}

export interface Service {
  readonly name: string
  /** Exact names; first is the one that the base URL leads to. */
  readonly hosts: readonly string[]
  readonly port: number
  readonly scheme: 'https' | 'http'
  /** Where an agent of this service may put its placeholder; every one is emptied before injection. */
  readonly slots: readonly Slot[]
  /** Hosts that take a bearer token as the password of this user instead (RFC 7617). */
  readonly basicAt?: { readonly user: string; readonly hosts: readonly string[] }
  /** 'none': the service takes no credential; what looks like one is refused. */
  readonly credential: 'required' | 'none'
  /** 'optional': inside a run a call without the placeholder goes on without a credential, never with one. */
  readonly placeholder: 'required' | 'optional'
  /** Empty means any method the reader knows. */
  readonly methods: readonly string[]
  readonly actions: readonly ActionRule[]
  /** Where a path names a repository, by host: `owner/name` in the first group. */
  readonly repositoryPaths?: Readonly<Record<string, RegExp>>
  /** Prefixes that the base-URL listener puts before a path that lacks them, e.g. Anthropic's `/v1`. */
  readonly basePrefix: string
  /** Beginnings of paths that the vendor's own SDKs spell oddly, and the documented spelling: policy and vendor see that one alone. */
  readonly respelled?: Readonly<Record<string, string>>
  readonly allowPrivateAddresses: boolean
  /** Origins of web pages that may call through the base URL outside a run. */
  readonly origins: readonly string[]
  /** Response cookies that pass on an injected answer. */
  readonly cookies: readonly string[]
  /** Placeholder of the vendor's shape: what stands before the random part, and the environment variables that carry it. */
  readonly keyPrefix: string
  readonly keyVariables: readonly string[]
  /** What else a run sets, so that clients look for no credential elsewhere; and what it takes away. */
  readonly runVariables?: Readonly<Record<string, string | null>> | undefined
  readonly baseUrlVariables: readonly { readonly name: string; readonly path: string }[]
  /** Where a body may ask for work that goes on after its answer, and by which flag: then it must be permitted as `deferred` too. */
  readonly deferral?: { readonly path: RegExp; readonly field: string }
  /** Paths at which a file or a list of many calls is handed in: refused where policy reads what one of them says. */
  readonly filesOfCalls?: RegExp
  /** Fields of an answer, lower-case, that name an address at the vendor at which the agent goes on. */
  readonly addressFields?: readonly string[]
  /** Where the body names the model: a JSON field, or null when the path does. */
  readonly modelField: string | null
  readonly modelPath: RegExp | null
  /** Colons belong to its models, and its SDKs write them as `%3A`; policies see colons. */
  readonly modelColon?: boolean
  /** Where WebSockets may be opened; absent: anywhere, and their messages are not read. */
  readonly sockets?: readonly SocketRule[]
  /** JSON field that lists tools run by the vendor. */
  readonly toolsField: string | null
  /** A subscription's token, where the vendor gives one out: its shape, the variable that carries it, what a call adds to lists. */
  readonly login?: {
    readonly keyPrefix: string
    readonly keyVariables: readonly string[]
    readonly lists: Readonly<Record<string, string>>
  }
  /** Where the vendor exchanges a signed statement for a token, if it does. */
  readonly tokenUrl: string | null
}
