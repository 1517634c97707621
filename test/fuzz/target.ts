// What is fuzzed, and how: samples of a small corpus that are cut, joined and changed, and a property that holds for whatever comes of it.
import assert from 'node:assert/strict'
import fc from 'fast-check'

export interface Target {
  readonly name: string
  /** One case: made by fast-check, which also shrinks it. */
  readonly cases: fc.Arbitrary<unknown>
  /** Throws where the property does not hold. */
  check(value: unknown): void | Promise<void>
  open?(): Promise<void>
  close?(): Promise<void>
}

export function target<T>(
  name: string,
  cases: fc.Arbitrary<T>,
  check: (value: T) => void | Promise<void>,
  around: Pick<Target, 'open' | 'close'> = {},
): Target {
  let underWay: void | Promise<void>
  return {
    name,
    cases,
    ...around,
    check(value) {
      underWay = check(value as T)
      return underWay
    },
    async close() {
      // When its time is up fast-check no longer waits for the case, and that goes on: nothing is taken away beneath it.
      await Promise.resolve(underWay).catch(() => {})
      await around.close?.()
    },
  }
}

type Change = readonly [how: 'put' | 'take' | 'flip' | 'again' | 'number', at: number, length: number, token: string]

/** Bytes that are mostly right: one or two samples, joined at any place, with a few changes. Shrinks to fewer changes. */
export function nearly(samples: readonly (string | Buffer)[], tokens: readonly string[]): fc.Arbitrary<Buffer> {
  const bytes = samples.map((one) => (typeof one === 'string' ? Buffer.from(one, 'latin1') : one))
  const change: fc.Arbitrary<Change> = fc.tuple(
    fc.constantFrom('put', 'take', 'flip', 'again', 'number'),
    fc.nat(1_000_000),
    fc.integer({ min: 1, max: 24 }),
    fc.oneof(fc.constantFrom(...tokens), fc.string({ unit: 'binary-ascii', maxLength: 4 })),
  )
  const joint = fc.option(fc.tuple(fc.constantFrom(...bytes), fc.nat(1_000_000), fc.nat(1_000_000)), { freq: 3 })
  return fc
    .tuple(fc.constantFrom(...bytes), joint, fc.array(change, { maxLength: 6 }))
    .map(([first, second, changes]) => changes.reduce(changed, second === null ? first : joined(first, second)))
}

function joined(first: Buffer, [second, from, to]: readonly [Buffer, number, number]): Buffer {
  return Buffer.concat([first.subarray(0, from % (first.length + 1)), second.subarray(to % (second.length + 1))])
}

function changed(bytes: Buffer, [how, place, length, token]: Change): Buffer {
  const at = place % (bytes.length + 1)
  const end = Math.min(bytes.length, at + length)
  const between = (middle: Buffer, to: number): Buffer => Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(to)])
  if (how === 'put') return between(Buffer.from(token, 'latin1'), at)
  if (how === 'take') return between(Buffer.alloc(0), end)
  if (how === 'again') return between(Buffer.concat([bytes.subarray(at, end), bytes.subarray(at, end)]), end)
  const copy = Buffer.from(bytes)
  if (how === 'flip' && at < copy.length) copy[at] = (copy[at] as number) ^ (1 << (length % 8))
  // Lengths live in numbers: none, one, all of its bits, one less.
  if (how === 'number' && at + 2 <= copy.length) copy.writeUInt16BE([0, 1, 0xffff, 0x7fff, 0x8000][length % 5] as number, at)
  return copy
}

/** Where to cut a stream of bytes. */
export const cuts = fc.array(fc.nat(1_000_000), { maxLength: 5 })

export function pieces(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...at.map((one) => one % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  // Each in a memory of its own: who reads past it finds nothing of the next.
  return places.slice(1).map((end, i) => Buffer.from(bytes.subarray(places[i], end)))
}

/** The value, or the error where it is one of these; any other is thrown on. */
export function outcome<T>(work: () => T, ...expected: readonly (abstract new (...args: never[]) => Error)[]): T | Error {
  try {
    return work()
  } catch (error) {
    if (expected.some((one) => error instanceof one)) return error as Error
    throw error
  }
}

/** Two outcomes are one: the same value, or errors of the same class and text. */
export function same(one: unknown, other: unknown, what: string): void {
  const plain = (value: unknown): unknown => (value instanceof Error ? `${value.name}: ${value.message}` : value)
  assert.deepEqual(plain(other), plain(one), what)
}
