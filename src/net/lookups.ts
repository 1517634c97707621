// Whose names are looked up at a time. getaddrinfo holds a thread for as long as a server does not answer, half a minute and more,
// and there are few: so each sender has a share of them, and who used it up with dead names waits for himself alone. One name is
// looked up once at a time, for whoever asks. It must never let one sender's names wait behind another's share.
import { Refusal } from '../model/refusal.ts'

export type Lookup = (host: string, sender: string) => Promise<readonly string[]>

type LookupLimits = Readonly<
  Record<'lookupsMax' | 'lookupsPerSenderMax' | 'lookupsWaitingPerSenderMax' | 'lookupWaitMs' | 'resolveMs', number>
>

interface Begun {
  readonly found: Promise<readonly string[]>
}

/** A name whose turn has not come. */
interface Turn extends PromiseWithResolvers<Begun> {
  callers: number
}

interface Sender {
  underWay: number
  readonly waiting: Map<string, Turn>
}

/** Throws Refusal forward.busy where the turn does not come in time, and what `ask` throws. */
export function createLookups(ask: (host: string) => Promise<readonly string[]>, limits: LookupLimits): Lookup {
  const underWay = new Map<string, Begun>()
  const senders = new Map<string, Sender>()

  function begin(host: string, name: string, sender: Sender): Begun {
    const known = underWay.get(host)
    if (known !== undefined) return known
    sender.underWay += 1
    const found = ask(host).finally(() => {
      underWay.delete(host)
      sender.underWay -= 1
      forget(name, sender)
      for (let more = next(); more; more = next());
    })
    // Callers stop waiting sooner than the system does, and a thread is free only when the system says so.
    found.catch(() => {})
    const begun = { found }
    underWay.set(host, begun)
    return begun
  }

  const hasRoom = (sender: Sender): boolean => underWay.size < limits.lookupsMax && sender.underWay < limits.lookupsPerSenderMax

  function forget(name: string, sender: Sender): void {
    if (sender.underWay === 0 && sender.waiting.size === 0) senders.delete(name)
  }

  /** The turn of who has least under way; false: nobody's. */
  function next(): boolean {
    let least: readonly [string, Sender] | null = null
    for (const one of senders)
      if (one[1].waiting.size > 0 && hasRoom(one[1]) && (least === null || one[1].underWay < least[1].underWay)) least = one
    if (least === null) return false
    const [name, sender] = least
    const [host, turn] = sender.waiting.entries().next().value as [string, Turn]
    sender.waiting.delete(host)
    turn.resolve(begin(host, name, sender))
    forget(name, sender)
    return true
  }

  async function wait(host: string, name: string, sender: Sender): Promise<Begun> {
    const turn = sender.waiting.get(host) ?? { ...Promise.withResolvers<Begun>(), callers: 0 }
    if (turn.callers === 0 && sender.waiting.size >= limits.lookupsWaitingPerSenderMax)
      throw new Refusal('forward.busy', 'lookupsWaitingPerSenderMax')
    sender.waiting.set(host, turn)
    turn.callers += 1
    const why = sender.underWay >= limits.lookupsPerSenderMax ? 'lookupsPerSenderMax' : 'lookupsMax'
    try {
      return await within(turn.promise, limits.lookupWaitMs, () => new Refusal('forward.busy', why))
    } finally {
      turn.callers -= 1
      // A name that nobody waits for any more takes nobody's turn.
      if (turn.callers === 0 && sender.waiting.get(host) === turn) sender.waiting.delete(host)
      forget(name, sender)
    }
  }

  return async (host, name) => {
    const sender = senders.get(name) ?? { underWay: 0, waiting: new Map() }
    senders.set(name, sender)
    const known = underWay.get(host)
    const { found } = known ?? (hasRoom(sender) ? begin(host, name, sender) : await wait(host, name, sender))
    forget(name, sender)
    return within(found, limits.resolveMs, () => Object.assign(new Error('timeout'), { code: 'ETIMEOUT' }))
  }
}

async function within<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), ms)
  })
  try {
    return await Promise.race([promise, over])
  } finally {
    clearTimeout(timer)
  }
}
