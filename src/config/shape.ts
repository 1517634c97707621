// The shape of the file: the ONE source of validation, the JSON Schema for editors and the reference page. What a kind takes
// is the kind's own schema; here only the frame stands.
import { z } from 'zod'

const name = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,99}$/, 'a name begins with a letter and holds letters, digits, - and _')
const host = z
  .string()
  .regex(/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, 'a plain lower-case host name')
const hostPort = z.string().regex(/^(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'HOST:PORT')
/** One kind and its configuration: `{ static-key: { ... } }`. Checked by the kind. */
const one = z.record(z.string(), z.unknown())

/** RFC 9110 §5.6.2, without `_` and the like, which some servers read as `-`. */
const token = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,99}$/, 'letters, digits and -')
/** Fields that frame or route a message, or that another slot fills: a credential in one would break or bend it. */
const framing =
  /^(host|connection|content-length|content-encoding|content-type|transfer-encoding|te|trailer|upgrade|expect|keep-alive|date|via|forwarded|x-forwarded-.*|proxy-.*|cookie|authorization|origin|sec-.*|accept-encoding)$/
const headerName = token
  .refine((text) => !framing.test(text.toLowerCase()), 'no credential goes into this field; for Authorization write bearer or basic')
  .transform((text) => text.toLowerCase())
const slot = z.union([
  z.strictObject({ header: headerName }),
  z.strictObject({ query: z.string().regex(/^[\w.-]{1,100}$/) }),
  z.enum(['bearer', 'basic']),
])
const method = z.string().regex(/^[A-Z]{1,20}$/, 'a method in capitals')

const workload = z.strictObject({
  path: z
    .string()
    // SPIFFE-ID §2.2: segments of letters, digits, `.`, `-` and `_`, none empty, none `.` or `..`.
    .regex(/^(\/(?!\.{1,2}(\/|$))([A-Za-z0-9._-]|\{[A-Za-z_][A-Za-z0-9_.-]*\})+)+$/, 'a path such as /ns/{namespace}/sa/{serviceAccount}')
    .max(1_000)
    .optional()
    .describe('SPIFFE path; `{attribute}` from proven attributes only.'),
  groups: z.array(name).default([]).describe('Groups that policies and credentials name.'),
  labels: z.record(name, z.string().max(200)).default({}).describe('Stated by you; what was proven stands under `principal.proven`.'),
  identify: one.optional().describe('Rules by trust provider: all must fit.'),
  run: z
    .strictObject({
      startedBy: z
        .array(z.union([z.string(), z.number()]))
        .min(1)
        .optional(),
      custody: z.enum(['any', 'namespace']).default('any'),
      within: z
        .array(name)
        .min(1)
        .optional()
        .describe('Workloads in whose runs `ostiary run --as` may start it, to narrow a part of them.'),
    })
    .optional()
    .describe('Who may start it by `ostiary run`, and the custody that it demands.'),
  observe: z
    .strictObject({ until: z.iso.date().describe('Past this date the file is a mistake.') })
    .optional()
    .describe('Until then a no of policy is recorded and not obeyed, for listed services and never for `mint`.'),
})

const service = z.strictObject({
  hosts: z.array(host).min(1).optional(),
  port: z.int().min(1).max(65_535).optional(),
  scheme: z.enum(['https', 'http']).optional(),
  slot: slot.optional().describe('Where its credential goes; for hosts that the catalog does not know.'),
  credential: z.enum(['required', 'none']).optional(),
  placeholder: z
    .enum(['required', 'optional'])
    .optional()
    .describe(
      '`optional` for clients that wait for a 401 first: inside a run a call without the placeholder goes on without a credential.',
    ),
  methods: z.array(method).min(1, 'an empty list allows nothing; leave it out for all').optional(),
  actions: z
    .array(
      z.strictObject({
        action: z.string().regex(/^[a-z][a-z0-9.]*$/),
        methods: z.array(method).min(1).optional(),
        path: z.string().regex(/^\/[^\s?#]*$/, 'a path that begins with / and has no query'),
      }),
    )
    .optional(),
  allowPrivateAddresses: z.boolean().optional(),
  origins: z
    .array(z.string().refine((text) => URL.canParse(text) && new URL(text).origin === text, 'an origin such as https://app.acme.example'))
    .optional(),
  cookies: z.array(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/)).optional(),
  keyVariables: z
    .array(z.string().regex(/^[A-Z_][A-Z0-9_]*$/))
    .optional()
    .describe('Environment variables that carry the placeholder in a run.'),
})

const credential = z
  .object({
    service: z.string(),
    for: z.array(name).min(1).describe('Workloads or groups.'),
    leaseMinutes: z.number().min(1).max(30).optional(),
  })
  .catchall(z.unknown())

const fixedAddress = z.strictObject({
  host,
  address: hostPort,
  reason: z.string().min(3),
  until: z.iso.date().describe('Past this date the file is a mistake.'),
})

export const fileShape = z.strictObject({
  trustDomain: host.describe('Names this installation; the host part of every SPIFFE ID.'),
  audience: z
    .url({ protocol: /^https$/ })
    .optional()
    .describe('What tokens must be issued for. Default: https://ostiary.<trustDomain>'),
  dataDir: z.string().min(1).optional(),
  log: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  listen: z
    .strictObject({ proxy: hostPort.default('127.0.0.1:7070'), baseUrl: hostPort.default('127.0.0.1:7071'), metrics: hostPort.optional() })
    .prefault({}),
  processes: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('Processes that serve the listeners, each on a core. More than one: the broker stands beside them in a process of its own.'),
  egress: z
    .strictObject({
      proxy: z.string().optional().describe('Proxy of this network, `http://HOST:PORT`: every host is reached by CONNECT through it.'),
      noProxy: z
        .array(z.string().min(1))
        .default([])
        .describe('Hosts that are reached without it: names, each with everything below it, and addresses.'),
      inspects: z
        .boolean()
        .default(false)
        .describe('The proxy reads what passes (its CA is extraCa), and credentials go through it all the same.'),
      extraCa: z.string().optional().describe('PEM file of further roots for upstream connections.'),
      resolver: z.string().optional().describe('DNS server `ip` or `ip:port` instead of the system’s.'),
      dangerouslyFixedAddresses: z.array(fixedAddress).default([]),
    })
    .prefault({}),
  trustProviders: z.record(name, one).default({}),
  workloads: z.record(name, workload).default({}),
  services: z.record(name, service.nullable()).default({}),
  tunnels: z.array(z.strictObject({ host, reason: z.string().min(3) })).default([]),
  credentials: z.record(name, credential).default({}),
  conditions: z.record(name, one).default({}),
  policies: z.array(z.union([z.string().min(1), z.strictObject({ cedar: z.string() })])).default([]),
  audit: z
    .strictObject({
      keepDays: z
        .int()
        .min(1)
        .max(36_500)
        .optional()
        .describe('Entries that are older go, in whole bundles of 256; their hashes stay. Default: all are kept.'),
      copies: z
        .array(z.string().min(1))
        .default([])
        .describe('Folders in which the newest checkpoint is put too, a file a day: on another machine or medium.'),
    })
    .prefault({})
    .describe('How long the log is kept, and where its checkpoints are copied.'),
  suspension: z
    .strictObject({ trips: z.int().min(1).max(100).default(3), windowSeconds: z.int().min(1).max(3_600).default(60) })
    .prefault({}),
})

export type FileShape = z.infer<typeof fileShape>
export type ServiceShape = z.infer<typeof service>
