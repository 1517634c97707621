// The hostile agent in each mode, against what SECURITY.md states; and one door opened, loudly.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { measure, modes, statedIn, uidOf } from './custody.test-kit.ts'

const page = readFileSync(new URL('../../SECURITY.md', import.meta.url), 'utf8')
/** Open in a namespace, and said so in SECURITY.md. */
const meant = ['connect to a socket with an abstract name', 'connect to a service on loopback', "change a hook of the project's own git"]

for (const mode of modes) {
  const uid = uidOf(mode)
  test(`${mode}: what the agent gets is what SECURITY.md says`, { skip: typeof uid === 'string' && uid }, async () => {
    const { result, said } = await measure(mode, Number(uid))
    const stated = statedIn(page, mode)
    const open = Object.keys(result).filter((name) => result[name])
    for (const [name, got] of Object.entries(result)) {
      // What is open to one user among others is the machine's own matter as well (Yama): less than stated is no fault.
      if (mode === 'shared-user' && !got) assert.ok(name in stated, `${name}: SECURITY.md is stale, run tools/custody.ts as root`)
      else assert.equal(got, stated[name], `${name}: SECURITY.md is stale, run tools/custody.ts as root`)
    }
    if (mode === 'shared-user') {
      assert.match(said, /custody: shared-user/)
      // The control: where nothing covers, the same agent gets nearly everything, so `held` elsewhere is the covers' doing.
      assert.ok(open.length > 55, `only ${open.length}: does the agent still try?`)
    } else assert.deepEqual(open.sort(), [...meant].sort())
  })
}
