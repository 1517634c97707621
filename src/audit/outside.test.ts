// A verifier that we did not write checks the same files: Go's sumdb/tlog and note, the ancestors of C2SP tlog-tiles.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { leaves } from './read.ts'
import { leafHash, proveConsistency, proveInclusion, subtreeOf } from './tree.ts'
import { entry, openLog, tempDir } from './workshop.test-kit.ts'

const goMod = `module outside

go 1.24.0

require golang.org/x/mod v0.29.0
`

// Reads tiles through tlog.TileHashReader, which itself proves each tile against the signed root.
const program = `package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type reader struct{ dir string }

func (r reader) Height() int { return 8 }
func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}
func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		// tlog names tile/<height>/<level>/<n>; tlog-tiles leaves the height out.
		path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		b, err := os.ReadFile(filepath.Join(r.dir, path))
		if err != nil && t.W < 256 {
			full := path[:strings.Index(path, ".p/")]
			if b, err = os.ReadFile(filepath.Join(r.dir, full)); err == nil {
				b = b[:t.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func check(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

func open(path string, v note.Verifier) tlog.Tree {
	text, err := os.ReadFile(path)
	check(err)
	n, err := note.Open(text, note.VerifierList(v))
	check(err)
	lines := strings.Split(n.Text, "\\n")
	if len(lines) != 4 || lines[0] != v.Name() {
		check(fmt.Errorf("origin %q", lines[0]))
	}
	var t tlog.Tree
	_, err = fmt.Sscan(lines[1], &t.N)
	check(err)
	t.Hash, err = tlog.ParseHash(lines[2])
	check(err)
	return t
}

func proof(path string) (all []tlog.Hash) {
	var list []string
	b, err := os.ReadFile(path)
	check(err)
	check(json.Unmarshal(b, &list))
	for _, one := range list {
		h, err := tlog.ParseHash(one)
		check(err)
		all = append(all, h)
	}
	return all
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	v, err := note.NewVerifier(vkey)
	check(err)
	now := open(filepath.Join(dir, "checkpoint"), v)
	then := open(os.Args[3], v)
	hashes := tlog.TileHashReader(now, reader{dir})
	tp, err := tlog.ProveTree(now.N, then.N, hashes)
	check(err)
	check(tlog.CheckTree(tp, now.N, now.Hash, then.N, then.Hash))
	check(tlog.CheckTree(proof(os.Args[4]), now.N, now.Hash, then.N, then.Hash))
	index := int64(0)
	for index < now.N {
		t := tlog.Tile{H: 8, L: -1, N: index / 256, W: int(min(256, now.N-index))}
		path := strings.Replace(t.Path(), "tile/8/data/", "tile/entries/", 1)
		b, err := os.ReadFile(filepath.Join(dir, path))
		check(err)
		for len(b) > 0 {
			n := int(binary.BigEndian.Uint16(b))
			h := tlog.RecordHash(b[2 : 2+n])
			p, err := tlog.ProveRecord(now.N, index, hashes)
			check(err)
			check(tlog.CheckRecord(p, now.N, now.Hash, index, h))
			if index == 5 {
				check(tlog.CheckRecord(proof(os.Args[5]), now.N, now.Hash, index, h))
			}
			b = b[2+n:]
			index++
		}
	}
	fmt.Println("ok", index)
}
`

test("Go's tlog and note accept checkpoint, tiles, bundles and our proofs", { timeout: 120_000 }, async (t) => {
  const root = tempDir(t)
  const go = (...args: string[]) =>
    spawnSync('go', args, { cwd: root, encoding: 'utf8', timeout: 60_000, env: { ...process.env, GOFLAGS: '-mod=mod' } })
  writeFileSync(join(root, 'go.mod'), goMod)
  writeFileSync(join(root, 'main.go'), program)
  if (go('version').status !== 0) return t.skip('go is not installed here')
  if (go('mod', 'download', 'golang.org/x/mod').status !== 0) return t.skip('the module golang.org/x/mod cannot be had here')
  const built = go('build', '-o', 'outside', '.')
  assert.equal(built.status, 0, built.stderr)

  const dir = join(root, 'log')
  const audit = await openLog(dir)
  const some = (from: number, to: number) => Promise.all(Array.from({ length: to - from }, (_, i) => audit.append(entry(`c${from + i}`))))
  await some(0, 300)
  await audit.checkpoint()
  const then = join(root, 'then')
  writeFileSync(then, readFileSync(join(dir, 'checkpoint')))
  await some(300, 777)
  await audit.close()

  const hashes: Buffer[] = []
  for await (const { bytes } of leaves(dir)) hashes.push(leafHash(bytes))
  const subtree = subtreeOf(hashes)
  const write = (name: string, proof: readonly Buffer[]) => {
    writeFileSync(join(root, name), JSON.stringify(proof.map((hash) => hash.toString('base64'))))
    return join(root, name)
  }
  const consistency = write('consistency', proveConsistency(subtree, 300, 777))
  const inclusion = write('inclusion', proveInclusion(subtree, 5, 777))
  const run = () => spawnSync(join(root, 'outside'), [dir, audit.publicKey, then, consistency, inclusion], { encoding: 'utf8' })
  const accepted = run()
  assert.equal(accepted.stdout, 'ok 777\n', accepted.stderr)

  const bundle = join(dir, 'tile/entries/001')
  const bytes = readFileSync(bundle)
  bytes[100] = (bytes[100] as number) ^ 1
  writeFileSync(bundle, bytes)
  assert.equal(run().status, 1, 'and it refuses a changed one')
})
