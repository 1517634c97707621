import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createTree,
  emptyRoot,
  leafHash,
  nodeHash,
  proveConsistency,
  proveInclusion,
  rangeHash,
  subtreeOf,
  verifyConsistency,
  verifyInclusion,
} from './tree.ts'

// The eight leaves of the reference tests of Certificate Transparency (RFC 6962), and the roots of their trees.
const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const leaves = Array.from({ length: 300 }, (_, i) =>
  leafHash(Buffer.from(i < 8 ? (inputs[i] as string) : `leaf ${i}`, i < 8 ? 'hex' : 'utf8')),
)

/** RFC 6962 section 2.1 word for word: the oracle of everything faster. */
function plainRoot(list: readonly Buffer[]): Buffer {
  if (list.length === 0) return emptyRoot
  if (list.length === 1) return list[0] as Buffer
  let k = 1
  while (k * 2 < list.length) k *= 2
  return nodeHash(plainRoot(list.slice(0, k)), plainRoot(list.slice(k)))
}

const plainRoots = Array.from({ length: 301 }, (_, size) => plainRoot(leaves.slice(0, size)))

test('the reference vectors', () => {
  assert.equal(emptyRoot.toString('hex'), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  assert.equal(createTree().root().toString('hex'), emptyRoot.toString('hex'))
  const tree = createTree()
  roots.forEach((root, i) => {
    tree.append(leaves[i] as Buffer)
    assert.equal(tree.root().toString('hex'), root, `root of ${i + 1}`)
  })
})

test('the incremental tree is the plain one at every size, and so is a range', () => {
  const tree = createTree()
  const subtree = subtreeOf(leaves)
  for (let size = 0; size <= 300; size += 1) {
    assert.ok(tree.root().equals(plainRoots[size] as Buffer), `root of ${size}`)
    assert.ok(rangeHash(subtree, 0, size).equals(plainRoots[size] as Buffer), `range of ${size}`)
    if (size < 300) tree.append(leaves[size] as Buffer)
  }
})

test('inclusion: every leaf of many sizes is proven, at its own place only', () => {
  const subtree = subtreeOf(leaves)
  for (const size of [1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 100, 255, 256, 257, 300]) {
    const root = plainRoots[size] as Buffer
    for (let index = 0; index < size; index += size > 64 ? 7 : 1) {
      const proof = proveInclusion(subtree, index, size)
      const leaf = leaves[index] as Buffer
      assert.ok(verifyInclusion(leaf, index, size, proof, root), `${index} of ${size}`)
      assert.ok(!verifyInclusion(leaves[(index + 1) % 300] as Buffer, index, size, proof, root))
      assert.ok(!verifyInclusion(leaf, index + 1, size, proof, root) || size === 1)
      assert.ok(!verifyInclusion(leaf, index, size, [...proof, leaf], root))
      if (proof.length > 0) assert.ok(!verifyInclusion(leaf, index, size, proof.slice(1), root))
    }
    assert.ok(!verifyInclusion(leaves[0] as Buffer, size, size, [], root))
  }
})

test('consistency: between all sizes up to 300', { timeout: 60_000 }, () => {
  const memo = new Map<number, Buffer>()
  const slow = subtreeOf(leaves)
  const subtree = (from: number, to: number): Buffer => {
    const key = from * 1000 + to
    const known = memo.get(key) ?? slow(from, to)
    memo.set(key, known)
    return known
  }
  for (let size = 0; size <= 300; size += 1) {
    for (let old = 0; old <= size; old += 1) {
      const proof = proveConsistency(subtree, old, size)
      const [before, after] = [plainRoots[old] as Buffer, plainRoots[size] as Buffer]
      assert.ok(verifyConsistency(old, before, size, after, proof), `${old} to ${size}`)
      if (old > 0 && old < size) {
        assert.ok(!verifyConsistency(old, plainRoots[old - 1] as Buffer, size, after, proof), `${old} to ${size} with a wrong old root`)
        assert.ok(!verifyConsistency(old, before, size, plainRoots[size - 1] as Buffer, proof), `${old} to ${size} with a wrong root`)
      }
    }
  }
  assert.ok(!verifyConsistency(5, plainRoots[5] as Buffer, 4, plainRoots[4] as Buffer, []))
})
