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

const slot = z.union([z.strictObject({ header: z.string() }), z.strictObject({ query: z.string() }), z.enum(['bearer', 'basic'])])

const workload = z.strictObject({
  path: z
    .string()
    .regex(/^\/[^\s?#%]*$/)
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
    })
    .optional()
    .describe('Who may start it by `ostiary run`, and the custody that it demands.'),
})

const service = z.strictObject({
  hosts: z.array(host).min(1).optional(),
  port: z.int().min(1).max(65_535).optional(),
  scheme: z.enum(['https', 'http']).optional(),
  slot: slot.optional().describe('Where its credential goes; for hosts that the catalog does not know.'),
  credential: z.enum(['required', 'none']).optional(),
  placeholder: z.enum(['required', 'optional']).optional().describe('`optional` for clients that wait for a 401 first.'),
  methods: z.array(z.string().regex(/^[A-Z]+$/)).optional(),
  actions: z
    .array(
      z.strictObject({
        action: z.string().regex(/^[a-z][a-z0-9.]*$/),
        methods: z.array(z.string()).optional(),
        path: z.string().startsWith('/'),
      }),
    )
    .optional(),
  allowPrivateAddresses: z.boolean().optional(),
  origins: z.array(z.string()).optional(),
  cookies: z.array(z.string()).optional(),
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
  until: z.union([z.iso.date(), z.date()]).describe('Past this date the file is a mistake.'),
})

export const fileShape = z.strictObject({
  trustDomain: host.describe('Names this installation; the host part of every SPIFFE ID.'),
  audience: z.url().optional().describe('What tokens must be issued for. Default: https://ostiary.<trustDomain>'),
  dataDir: z.string().optional(),
  log: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  listen: z
    .strictObject({ proxy: hostPort.default('127.0.0.1:7070'), baseUrl: hostPort.default('127.0.0.1:7071'), metrics: hostPort.optional() })
    .prefault({}),
  egress: z
    .strictObject({
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
  policies: z.array(z.union([z.string(), z.strictObject({ cedar: z.string() })])).default([]),
  suspension: z
    .strictObject({ trips: z.int().min(1).max(100).default(3), windowSeconds: z.int().min(1).max(3_600).default(60) })
    .prefault({}),
})

export type FileShape = z.infer<typeof fileShape>
export type WorkloadShape = z.infer<typeof workload>
export type ServiceShape = z.infer<typeof service>
