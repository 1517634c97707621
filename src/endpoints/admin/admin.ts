// The admin door: what the command line and operators ask, over a Unix socket in the data directory (0600). It never
// returns a secret value: secrets go in, names and fingerprints come out.
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import type { Log } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import { ConfigMistakes, Refusal } from '../../model/refusal.ts'

type Json = Readonly<Record<string, unknown>>

/** What the admin door can do; compose fits it. Anything that is not there answers 501. */
export interface AdminPorts {
  status(): Promise<Json>
  reload(showOnly: boolean): Promise<Json>
  stop(): void
  logLevel(level: string): void
  secrets: {
    list(): Promise<readonly Json[]>
    /** `keep`: another value of this name is not replaced. */
    set(name: string, service: string, value: Buffer, rotate: boolean, keep: boolean): Promise<Json>
    remove(name: string): Promise<boolean>
  }
  credentials: { list(): Promise<readonly Json[]>; verify(name: string): Promise<Json> }
  issuer: { jwks(credential: string | null): Promise<Json>; rotate(credential: string): Promise<Json> }
  caPem(): string
  explain(asked: Explained): Promise<Json>
  identify(asked: { pid?: number | undefined; token?: string | undefined }): Promise<object>
  revoke(what: { run?: string | undefined; workload?: string | undefined; credential?: string | undefined; undo: boolean }): Promise<Json>
  runs: { list(): Promise<readonly Json[]>; resume(id: string): Promise<void>; end(id: string): boolean }
  metrics(): Promise<string>
  /** Records who did what. */
  record(what: string): Promise<void>
}

const secretBody = z.strictObject({
  service: z.string(),
  value: z.base64(),
  rotate: z.boolean().default(false),
  keep: z.boolean().default(false),
})
const explainBody = z.strictObject({
  workload: z.string(),
  method: z.string().default('GET'),
  url: z.string(),
  body: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
})
export type Explained = z.infer<typeof explainBody>
const identifyBody = z
  .strictObject({ pid: z.int().min(1).optional(), token: z.string().max(limits.evidenceBytesMax).optional() })
  .refine((body) => (body.pid === undefined) !== (body.token === undefined), 'name a pid or a token')
const revokeBody = z
  .strictObject({
    run: z.string().optional(),
    workload: z.string().optional(),
    credential: z.string().optional(),
    undo: z.boolean().default(false),
  })
  .refine(
    (body) => [body.run, body.workload, body.credential].filter((value) => value !== undefined).length === 1,
    'name exactly one of run, workload, credential',
  )
const levelBody = z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']) })
const credentialBody = z.strictObject({ credential: z.string() })
const reloadBody = z.strictObject({ show: z.boolean().default(false) })

export function adminRoutes(ports: AdminPorts, log: Log): Hono {
  const app = new Hono()
  app.use(bodyLimit({ maxSize: limits.adminBodyBytesMax }))
  app.onError((error, c) => {
    if (error instanceof Refusal)
      return c.json({ error: { code: error.code, says: error.says, detail: error.detail } }, error.status as 403)
    if (error instanceof ConfigMistakes) return c.json({ ok: false, mistakes: error.mistakes }, 422)
    if (error instanceof z.ZodError) return c.json({ error: { says: z.prettifyError(error) } }, 400)
    if (error instanceof SyntaxError) return c.json({ error: { says: 'The body is not JSON.' } }, 400)
    log.error('admin door', { error: error.message })
    return c.json({ error: { says: error.message } }, 500)
  })
  app.notFound((c) => c.json({ error: { says: 'There is nothing here.' } }, 404))

  app.get('/status', async (c) => c.json(await ports.status()))
  app.get('/ca', (c) => c.text(ports.caPem()))
  app.get('/metrics', async (c) => c.text(await ports.metrics()))
  app.post('/reload', async (c) => c.json(await ports.reload(reloadBody.parse(await body(c.req.raw)).show)))
  app.post('/stop', async (c) => {
    await ports.record('stop')
    ports.stop()
    return c.json({ ok: true })
  })
  app.post('/log-level', async (c) => {
    const { level } = levelBody.parse(await body(c.req.raw))
    await ports.record(`log level ${level}`)
    ports.logLevel(level)
    return c.json({ ok: true, level })
  })

  app.get('/secrets', async (c) => c.json({ secrets: await ports.secrets.list() }))
  app.put('/secrets/:name', async (c) => {
    const { service, value, rotate, keep } = secretBody.parse(await body(c.req.raw))
    const bytes = Buffer.from(value, 'base64')
    await ports.record(`secret ${rotate ? 'rotate' : 'set'} ${c.req.param('name')} for ${service}`)
    try {
      return c.json(await ports.secrets.set(c.req.param('name'), service, bytes, rotate, keep))
    } finally {
      bytes.fill(0)
    }
  })
  app.delete('/secrets/:name', async (c) => {
    await ports.record(`secret remove ${c.req.param('name')}`)
    const removed = await ports.secrets.remove(c.req.param('name'))
    return removed ? c.json({ ok: true }) : c.json({ error: { says: 'There is no secret of this name.' } }, 404)
  })

  app.get('/credentials', async (c) => c.json({ credentials: await ports.credentials.list() }))
  app.post('/credentials/:name/verify', async (c) => c.json(await ports.credentials.verify(c.req.param('name'))))
  app.get('/issuer/jwks', async (c) => c.json(await ports.issuer.jwks(c.req.query('credential') ?? null)))
  app.post('/issuer/rotate', async (c) => {
    const { credential } = credentialBody.parse(await body(c.req.raw))
    await ports.record(`issuer key rotate ${credential}`)
    return c.json(await ports.issuer.rotate(credential))
  })

  app.post('/explain', async (c) => c.json(await ports.explain(explainBody.parse(await body(c.req.raw)))))
  app.post('/identify', async (c) => c.json(await ports.identify(identifyBody.parse(await body(c.req.raw)))))
  app.post('/revoke', async (c) => {
    const what = revokeBody.parse(await body(c.req.raw))
    await ports.record(`revoke ${JSON.stringify(what)}`)
    return c.json(await ports.revoke(what))
  })
  app.get('/runs', async (c) => c.json({ runs: await ports.runs.list() }))
  app.post('/runs/:id/resume', async (c) => {
    await ports.record(`resume ${c.req.param('id')}`)
    await ports.runs.resume(c.req.param('id'))
    return c.json({ ok: true })
  })
  app.post('/runs/:id/end', async (c) => {
    await ports.record(`end ${c.req.param('id')}`)
    return ports.runs.end(c.req.param('id')) ? c.json({ ok: true }) : c.json({ error: { says: 'There is no such open run.' } }, 404)
  })
  return app
}

/** An absent body is an empty object. */
async function body(request: Request): Promise<unknown> {
  const text = await request.text()
  return text === '' ? {} : JSON.parse(text)
}
