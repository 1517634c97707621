// A value that must never be seen: it prints as [secret] everywhere, and its bytes can be wiped.
import { timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

export class Secret {
  #bytes: Buffer

  /** Takes a copy of `value` (text as UTF-8); the caller keeps, and should wipe, its own. */
  constructor(value: string | Uint8Array) {
    // Buffer.alloc, not from: pooled memory would be shared with other values.
    const size = typeof value === 'string' ? Buffer.byteLength(value) : value.byteLength
    this.#bytes = Buffer.alloc(size)
    if (typeof value === 'string') this.#bytes.write(value, 'utf8')
    else this.#bytes.set(value)
  }

  /** The bytes themselves, not a copy. Only inject, obtain kinds, wire, scrub and crypto/seal may call this (tidy greps). */
  reveal(): Buffer {
    return this.#bytes
  }

  /** Length in bytes. */
  get size(): number {
    return this.#bytes.length
  }

  /** Constant-time comparison. */
  equals(other: Secret): boolean {
    return this.#bytes.length === other.#bytes.length && timingSafeEqual(this.#bytes, other.#bytes)
  }

  /** Overwrites the bytes; the secret is empty afterwards. */
  wipe(): void {
    this.#bytes.fill(0)
    this.#bytes = Buffer.alloc(0)
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}
