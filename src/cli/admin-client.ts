// Speaks to the running Ostiary over its admin socket, or, for the few commands that need no server, to its files.
import { join } from 'node:path'
import { ConfigMistakes } from '../model/refusal.ts'

// Not by `import`: see http/write-head.ts.
const { request } = process.getBuiltinModule('node:http')

export interface AdminAnswer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the admin door
  readonly body: any
}

/** The server is not there; exit code 3. */
export class NotRunning extends Error {
  constructor(dataDir: string) {
    super(`Ostiary is not running on ${dataDir}: start it by \`ostiary start\``)
    this.name = 'NotRunning'
  }
}

const answerMs = 60_000
const answerBytesMax = 64 * 1024 * 1024

/** The server said no; exit code 1. */
export class Declined extends Error {
  /** The code of a refusal, where it was one. */
  readonly code: string | null
  constructor(says: string, code: string | null = null) {
    super(says)
    this.name = 'Declined'
    this.code = code
  }
}

export function ask(dataDir: string, method: string, path: string, body?: unknown, timeoutMs = answerMs): Promise<AdminAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath: join(dataDir, 'admin.sock'), method, path, timeout: timeoutMs, headers: { 'content-type': 'application/json' } },
      (answer) => {
        const chunks: Buffer[] = []
        let size = 0
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > answerBytesMax) sent.destroy(new Error('the answer of Ostiary is too large'))
          else chunks.push(chunk)
        })
        answer.on('error', reject)
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          const json = answer.headers['content-type']?.includes('json') === true
          try {
            resolve({ status: answer.statusCode ?? 0, body: json ? JSON.parse(text) : text })
          } catch {
            reject(new Error('what answers at the admin socket is not Ostiary: no JSON'))
          }
        })
      },
    )
    sent.on('timeout', () => sent.destroy(new Error(`Ostiary did not answer within ${timeoutMs / 1000} s`)))
    sent.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') reject(new Declined(`${dataDir} belongs to another user: use the account that runs Ostiary`))
      else reject(['ENOENT', 'ECONNREFUSED'].includes(error.code ?? '') ? new NotRunning(dataDir) : error)
    })
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** The body of a 2xx answer; anything else is thrown in the server's words. */
export async function must(
  dataDir: string,
  method: string,
  path: string,
  body?: unknown,
  timeoutMs = answerMs,
): Promise<AdminAnswer['body']> {
  return checked(await ask(dataDir, method, path, body, timeoutMs))
}

function checked(answer: AdminAnswer): AdminAnswer['body'] {
  if (answer.status >= 200 && answer.status < 300) return answer.body
  if (answer.status === 422 && Array.isArray(answer.body?.mistakes)) throw new ConfigMistakes(answer.body.mistakes)
  const { error } = answer.body ?? {}
  const detail = error?.detail ? ` (${error.detail})` : ''
  throw new Declined(
    `${error?.says ?? `the server answered ${answer.status}`}${detail}`,
    typeof error?.code === 'string' ? error.code : null,
  )
}

/** With the server where it runs, on its files where it does not. */
export async function mustOrOffline(
  where: { readonly dataDir: string; readonly configFile: string | null },
  method: string,
  path: string,
  body?: unknown,
): Promise<AdminAnswer['body']> {
  try {
    return await must(where.dataDir, method, path, body)
  } catch (error) {
    if (!(error instanceof NotRunning)) throw error
  }
  const { openOffline } = await import('../compose/offline.ts')
  const offline = await openOffline(where)
  try {
    return checked(await offline.handle(method, path, body))
  } finally {
    await offline.close()
  }
}
