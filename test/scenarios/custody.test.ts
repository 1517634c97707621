// The hostile agent in each mode, against what SECURITY.md states; and one door opened, loudly.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setStage } from '../../examples/story/stage.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'
import { measure, modes, statedIn, uidOf } from './custody.test-kit.ts'

const page = readFileSync(new URL('../../SECURITY.md', import.meta.url), 'utf8')
/** Open in a namespace, and said so in SECURITY.md. */
const projects = ["change a hook of the project's own git"]
const meant = ['connect to a socket with an abstract name', 'connect to a service on loopback', ...projects]

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
    } else assert.deepEqual(open.sort(), (mode === '`--isolate`' ? projects : meant).toSorted())
  })
}

test('a door is opened by its name, loudly, and every record says so; a wrong name opens nothing', {
  skip: probeSandbox(process.getuid?.() ?? -1).custody === 'shared-user' && 'no namespaces here',
}, async (t) => {
  const stage = await setStage(Date.now())
  t.after(() => stage.close())
  const folder = mkdtempSync('/tmp/ostiary-agent-')
  const server = createServer(() => {}).listen(join(folder, 'agent.1'))
  t.after(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  const call = 'fetch(process.env.OSTIARY_BASE_URL + "/openai/v1/models").then((answer) => answer.text())'
  const reach = `require("node:net").connect(${JSON.stringify(join(folder, 'agent.1'))}).on("error", () => console.log("shut")).on("connect", function () { console.log("open", process.env.SSH_AUTH_SOCK); this.destroy() })`
  const words = ['--', process.execPath, '-e', `${call}.then(() => ${reach})`]
  process.env['SSH_AUTH_SOCK'] = join(folder, 'agent.1')
  t.after(() => delete process.env['SSH_AUTH_SOCK'])
  const run = (...expose: string[]) => stage.cli(['run', '--as', 'story-agent', ...expose.flatMap((name) => ['--expose', name]), ...words])

  const shut = await run()
  assert.equal(shut.out.trim(), 'shut', shut.err)
  const open = await run('ssh-agent', '/run/no-such.sock')
  assert.equal(open.out.trim(), `open ${folder}/agent.1`, open.err)
  assert.match(open.err, /EXPOSED to the command: \/run\/no-such\.sock \(a socket\), ssh-agent \(keys of .*\); each record says so/)
  const records = (await stage.cli(['audit', 'export'])).out
  assert.deepEqual([...new Set([...records.matchAll(/"custody":"([^"]+)"/g)].map(([, word]) => word))].sort(), [
    'exposed(/run/no-such.sock,ssh-agent)',
    'namespace',
  ])
  const wrong = await run('dokcer')
  assert.equal(wrong.code, 2)
  assert.match(wrong.err, /--expose dokcer: there is no such name\. One of docker, podman/)
})
