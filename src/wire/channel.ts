// Questions and answers between two processes of one installation, over the channel that Node opens for a child: a socket pair that
// nobody else can reach. Whoever asks hears an answer or a refusal; a secret crosses as bytes of its own and is a Secret again on the
// other side.
import { limits } from '../model/limits.ts'
import { Refusal, type RefusalCode } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'

/** What one side answers, by the name of a question. */
// biome-ignore lint/suspicious/noExplicitAny: each question has a type of its own
export type Questions = Readonly<Record<string, (asked: any) => unknown>>
export type Asked<Of extends Questions, Name extends keyof Of> = Parameters<Of[Name]>[0]
export type Answer<Of extends Questions, Name extends keyof Of> = ReturnType<Of[Name]>

export type Answers<Of extends Questions> = {
  readonly [Name in keyof Of]: (asked: Asked<Of, Name>) => Answer<Of, Name> | Promise<Answer<Of, Name>>
}

export interface Channel<Theirs extends Questions> {
  /** Rejects with what the other side refuses with, or with Refusal wire.no_answer when the signal aborts or the channel closes. */
  ask<Name extends keyof Theirs & string>(name: Name, asked: Asked<Theirs, Name>, signal: AbortSignal): Promise<Answer<Theirs, Name>>
  /** Nobody waits for it. */
  tell<Name extends keyof Theirs & string>(name: Name, asked: Asked<Theirs, Name>): void
  /** A message has come. */
  take(message: unknown): void
  /** The other side is gone: whoever waits is refused. */
  close(): void
}

/** A message as it crosses; `secrets` stand for the places in `value` that say `{ '[secret]': index }`. */
interface Crossing {
  readonly ask?: string
  readonly id: number
  readonly value?: unknown
  readonly refused?: { readonly code: RefusalCode; readonly detail: string }
  readonly secrets: readonly Uint8Array[]
}

interface Waiting {
  resolve(value: unknown): void
  reject(refusal: Refusal): void
}

/** An id of nobody who waits. */
const told = 0

export function createChannel<Ours extends Questions, Theirs extends Questions>(
  send: (message: Crossing) => void,
  answers: Answers<Ours>,
): Channel<Theirs> {
  const waiting = new Map<number, Waiting>()
  let last = told
  let closed = false

  function cross(message: Omit<Crossing, 'secrets'>): void {
    const secrets: Uint8Array[] = []
    send({ ...message, ...('value' in message ? { value: packed(message.value, secrets) } : {}), secrets })
  }

  async function answer(name: string, id: number, value: unknown): Promise<void> {
    try {
      const found = Object.hasOwn(answers, name) ? answers[name as keyof Ours] : undefined
      if (found === undefined) throw new Refusal('flow.defect', `nobody answers ${name}`)
      const answered = await found(value)
      if (id !== told && !closed) cross({ id, value: answered })
    } catch (error) {
      const { code, detail } = error instanceof Refusal ? error : new Refusal('flow.defect', String(error))
      if (id !== told && !closed) cross({ id, refused: { code, detail } })
    }
  }

  return {
    ask(name, asked, signal) {
      if (closed || signal.aborted || waiting.size >= limits.wireAsksMax)
        return Promise.reject(new Refusal('wire.no_answer', `${name} was not asked`))
      const id = ++last
      return new Promise((resolve, reject) => {
        const late = (): void => {
          waiting.delete(id)
          reject(new Refusal('wire.no_answer', name))
        }
        const over = (): void => signal.removeEventListener('abort', late)
        signal.addEventListener('abort', late, { once: true })
        waiting.set(id, {
          resolve(value) {
            over()
            resolve(value as never)
          },
          reject(refusal) {
            over()
            reject(refusal)
          },
        })
        cross({ ask: name, id, value: asked })
      })
    },
    tell(name, asked) {
      if (!closed) cross({ ask: name, id: told, value: asked })
    },
    take(message) {
      const { ask, id, value, refused, secrets } = message as Crossing
      const whole = unpacked(value, secrets.map(opened))
      if (ask !== undefined) return void answer(ask, id, whole)
      const one = waiting.get(id)
      waiting.delete(id)
      if (refused !== undefined) one?.reject(new Refusal(refused.code, refused.detail))
      else one?.resolve(whole)
    },
    close() {
      closed = true
      for (const one of waiting.values()) one.reject(new Refusal('wire.no_answer', 'the other process ended'))
      waiting.clear()
    },
  }
}

function opened(bytes: Uint8Array): Secret {
  const secret = new Secret(bytes)
  bytes.fill(0)
  return secret
}

/** Plain values, with an index where a Secret stood: one that stands twice is one again. */
function packed(value: unknown, secrets: Uint8Array[]): unknown {
  if (value instanceof Secret) {
    const bytes = value.reveal()
    const known = secrets.indexOf(bytes)
    return { '[secret]': known >= 0 ? known : secrets.push(bytes) - 1 }
  }
  if (Array.isArray(value)) return value.map((one) => packed(one, secrets))
  if (!isPlain(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, packed(one, secrets)]))
}

function unpacked(value: unknown, secrets: readonly Secret[]): unknown {
  if (secrets.length === 0) return value
  if (Array.isArray(value)) return value.map((one) => unpacked(one, secrets))
  if (!isPlain(value)) return value
  if ('[secret]' in value) return secrets[value['[secret]'] as number]
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpacked(one, secrets)]))
}

/** Anything else crosses as it is, and holds no Secret. */
function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
