// The Merkle tree of RFC 6962 section 2.1 (SHA-256): an incremental tree, inclusion and consistency proofs, and their verification.
// Sizes are plain numbers (exact to 2^53), so no bit operator may touch them: those cut to 32 bits.
import { hash } from 'node:crypto'

/** Into the pool of small buffers: one of its own for each hash costs more than the hash, and the garbage collector as much again. */
export function sha256(bytes: Uint8Array): Buffer {
  return Buffer.from(hash('sha256', bytes, 'latin1'), 'latin1')
}

/** RFC 6962 section 2.1: the hash of an empty list is the hash of an empty string. */
export const emptyRoot = sha256(Buffer.alloc(0))

/** RFC 6962 section 2.1: SHA-256(0x00 || d). */
export function leafHash(entry: Uint8Array): Buffer {
  const prefixed = Buffer.allocUnsafe(entry.length + 1)
  prefixed[0] = 0
  prefixed.set(entry, 1)
  return sha256(prefixed)
}

const pair = Buffer.alloc(65)
pair[0] = 1

/** RFC 6962 section 2.1: SHA-256(0x01 || left || right). */
export function nodeHash(left: Buffer, right: Buffer): Buffer {
  pair.set(left, 1)
  pair.set(right, 33)
  return sha256(pair)
}

export interface Tree {
  readonly size: number
  /** `leaf` is a leaf hash. */
  append(leaf: Buffer): void
  root(): Buffer
}

/**
 * The right edge of a tree: `edge[level]` is the hash of the complete subtree of 2^level leaves where `size` has that bit.
 * `completed(level, hash)` is told of every complete subtree whose level is a multiple of 8, leaves included: what tiles hold.
 */
export function createTree(size = 0, edge: Buffer[] = [], completed: (level: number, hash: Buffer) => void = () => {}): Tree {
  let count = size
  return {
    get size() {
      return count
    },
    append(leaf) {
      let node = leaf
      let level = 0
      completed(0, node)
      for (let rest = count; rest % 2 === 1; rest = (rest - 1) / 2) {
        node = nodeHash(edge[level] as Buffer, node)
        level += 1
        if (level % 8 === 0) completed(level / 8, node)
      }
      edge[level] = node
      count += 1
    },
    root() {
      let root: Buffer | null = null
      for (let rest = count, level = 0; rest > 0; rest = Math.floor(rest / 2), level += 1) {
        if (rest % 2 === 1) root = root === null ? (edge[level] as Buffer) : nodeHash(edge[level] as Buffer, root)
      }
      return root ?? emptyRoot
    },
  }
}

/** Hash of the subtree over the leaves [from, to); `to - from` is a power of two and `from` a multiple of it. */
export type Subtree = (from: number, to: number) => Buffer

export function subtreeOf(leaves: readonly Buffer[]): Subtree {
  const subtree: Subtree = (from, to) => {
    if (to - from === 1) return leaves[from] as Buffer
    const middle = from + (to - from) / 2
    return nodeHash(subtree(from, middle), subtree(middle, to))
  }
  return subtree
}

/** The largest power of two smaller than `size`; `size` is at least 2. */
function split(size: number): number {
  let k = 1
  while (k * 2 < size) k *= 2
  return k
}

/** MTH(D[from:to]) of any range that begins at a multiple of the power of two that covers it. */
export function rangeHash(subtree: Subtree, from: number, to: number): Buffer {
  if (to === from) return emptyRoot
  const size = to - from
  if (size === 1) return subtree(from, to)
  const k = split(size)
  if (k * 2 === size) return subtree(from, to)
  return nodeHash(rangeHash(subtree, from, from + k), rangeHash(subtree, from + k, to))
}

/** RFC 6962 section 2.1.1: PATH(index, D[0:size]). */
export function proveInclusion(subtree: Subtree, index: number, size: number): Buffer[] {
  const path: Buffer[] = []
  let from = 0
  let to = size
  while (to - from > 1) {
    const middle = from + split(to - from)
    if (index < middle) {
      path.push(rangeHash(subtree, middle, to))
      to = middle
    } else {
      path.push(rangeHash(subtree, from, middle))
      from = middle
    }
  }
  return path.reverse()
}

/** RFC 6962 section 2.1.2: PROOF(old, D[0:size]); empty where nothing is to be proven (old is 0 or size). */
export function proveConsistency(subtree: Subtree, old: number, size: number): Buffer[] {
  const proof: Buffer[] = []
  if (old === 0 || old === size) return proof
  let from = 0
  let to = size
  let whole = true
  while (old !== to) {
    const middle = from + split(to - from)
    if (old <= middle) {
      proof.push(rangeHash(subtree, middle, to))
      to = middle
    } else {
      proof.push(rangeHash(subtree, from, middle))
      from = middle
      whole = false
    }
  }
  if (!whole) proof.push(rangeHash(subtree, from, to))
  return proof.reverse()
}

/** RFC 9162 section 2.1.3.2. */
export function verifyInclusion(leaf: Buffer, index: number, size: number, proof: readonly Buffer[], root: Buffer): boolean {
  if (index < 0 || index >= size) return false
  let fn = index
  let sn = size - 1
  let r = leaf
  for (const p of proof) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      r = nodeHash(p, r)
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2
        sn = Math.floor(sn / 2)
      }
    } else {
      r = nodeHash(r, p)
    }
    fn = Math.floor(fn / 2)
    sn = Math.floor(sn / 2)
  }
  return sn === 0 && r.equals(root)
}

/** RFC 9162 section 2.1.4.2. */
export function verifyConsistency(old: number, oldRoot: Buffer, size: number, root: Buffer, proof: readonly Buffer[]): boolean {
  if (old < 0 || old > size) return false
  if (old === size) return proof.length === 0 && oldRoot.equals(root)
  if (old === 0) return proof.length === 0 && oldRoot.equals(emptyRoot)
  let fn = old - 1
  let sn = size - 1
  while (fn % 2 === 1) {
    fn = (fn - 1) / 2
    sn = Math.floor(sn / 2)
  }
  // An old size that is a power of two is itself the first node of the path.
  const path = fn === 0 ? [oldRoot, ...proof] : [...proof]
  const first = path.shift()
  if (first === undefined) return false
  let fr = first
  let sr = first
  for (const c of path) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      fr = nodeHash(c, fr)
      sr = nodeHash(c, sr)
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2
        sn = Math.floor(sn / 2)
      }
    } else {
      sr = nodeHash(sr, c)
    }
    fn = Math.floor(fn / 2)
    sn = Math.floor(sn / 2)
  }
  return sn === 0 && fr.equals(oldRoot) && sr.equals(root)
}
