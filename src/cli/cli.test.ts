import assert from 'node:assert/strict'
import { type SpawnOptionsWithoutStdio, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from './cli.ts'
import { completion, shells } from './completion.ts'
import { printable, table } from './print.ts'
import { wrongWith } from './secrets.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'ostiary-cli-'))
after(() => rmSync(root, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

const { OSTIARY_RUN: _run, OSTIARY_CONFIG: _config, OSTIARY_DATA: _data, NODE_OPTIONS: _options, ...environment } = process.env
const clean = { ...environment, HOME: root, XDG_CONFIG_HOME: join(root, 'config'), XDG_DATA_HOME: join(root, 'data'), NO_COLOR: '1' }

function cli(args: readonly string[], input = '', env: Readonly<Record<string, string>> = {}, node = process.execPath): Promise<Ended> {
  const options: SpawnOptionsWithoutStdio = { cwd: root, env: { ...clean, ...env } }
  const child = spawn(node, [bin, ...args], options)
  child.stdin.on('error', () => {}) // it may have ended without reading
  child.stdin.end(input)
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (err += chunk))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

/** An older Node of the system, outside of what npm put first into PATH. */
function olderNode(): string | null {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const node = join(dir, 'node')
    if (dir.includes('node_modules') || !existsSync(node)) continue
    const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' })
    const major = Number(/^v(\d+)/.exec(stdout ?? '')?.[1])
    if (major >= 20 && major < 26) return node
  }
  return null
}

describe('words', () => {
  test('help teaches, and is no error', async () => {
    const [all, one] = await Promise.all([cli(['--help']), cli(['secret', 'set', '--help'])])
    assert.equal(all.code, 0)
    for (const word of ['Examples:', 'ostiary run -- python agent.py', 'Exit codes:', 'secret', 'doctor', 'story'])
      assert.ok(all.out.includes(word), word)
    assert.equal(one.code, 0)
    assert.match(one.out, /--for <service>/)
  })

  test('wrong use is exit code 2 and says what was meant', async () => {
    const [command, option, value, shell, level] = await Promise.all([
      cli(['chekc']),
      cli(['check', '--confg', 'x']),
      cli(['status', '--wait', 'soon']),
      cli(['completion', 'tcsh']),
      cli(['log-level', 'loud']),
    ])
    for (const one of [command, option, value, shell, level]) assert.equal(one.code, 2, one.err)
    assert.match(command.err, /unknown command 'chekc'[\s\S]*check/)
    assert.match(option.err, /unknown option '--confg'[\s\S]*--config/)
  })

  test('a refusal is explained without a server; a near code is offered', async () => {
    const [known, near] = await Promise.all([cli(['explain', 'decide.denied', '--json']), cli(['explain', 'denied'])])
    assert.equal(JSON.parse(known.out).status, 403)
    assert.equal(near.code, 2)
    assert.match(near.err, /did you mean .*decide\.denied/)
  })

  test('completion knows every command, and the shells take it', () => {
    const program = build(() => {})
    for (const shell of shells) {
      const text = completion(program, shell) as string
      for (const command of program.commands) assert.ok(text.includes(command.name()), `${shell} ${command.name()}`)
      const checked = spawnSync(shell, ['-n'], { input: text, encoding: 'utf8' })
      if (checked.error === undefined) assert.equal(checked.status, 0, checked.stderr)
    }
    assert.equal(completion(program, 'tcsh'), null)
    const words = `${completion(program, 'bash')}\nCOMP_WORDS=(ostiary --data x secret se); COMP_CWORD=4; _ostiary; echo "\${COMPREPLY[@]}"`
    assert.equal(spawnSync('bash', ['-c', words], { encoding: 'utf8' }).stdout.trim(), 'set')
  })

  test('outside text moves no cursor and turns no line around', () => {
    assert.equal(printable('a\x1b[2J\u202eb\u061c\u{e0041}\n'), 'a\\u001b[2J\\u202eb\\u061c\\u{e0041}\\u000a')
    const lines = table(['a', 'b'], [['x\n', '\x07']], 80)
    assert.equal(lines.length, 2)
    assert.equal(lines[1], 'x\\u000a  \\u0007')
  })
})

describe('check', () => {
  test('exit codes, text and JSON; never the current directory', async () => {
    writeFileSync(join(root, 'ostiary.yaml'), 'nonsense: 1\n')
    writeFileSync(join(root, 'good.yaml'), 'trustDomain: a.example\n')
    writeFileSync(join(root, 'bad.yaml'), 'trustDomain: a.example\nservces: {}\nlog: lound\n')
    const [none, good, bad, json, schema] = await Promise.all([
      cli(['check', '--json']),
      cli(['check', '--config', 'good.yaml']),
      cli(['--config', 'bad.yaml', 'check']),
      cli(['check', '--config', 'bad.yaml', '--json']),
      cli(['check', '--schema']),
    ])
    assert.deepEqual([none.code, JSON.parse(none.out).file], [0, '(none)'])
    assert.equal(good.code, 0)
    assert.match(good.out, /no mistakes/)
    assert.equal(bad.code, 1)
    assert.match(bad.err, /bad\.yaml:2 {2}servces\n.*not known.*\n.*did you mean services\?/)
    assert.match(bad.err, /bad\.yaml:3 {2}log/)
    assert.equal(json.code, 1)
    assert.deepEqual(
      JSON.parse(json.out).mistakes.map((one: { line: number }) => one.line),
      [2, 3],
    )
    assert.equal(JSON.parse(schema.out).type, 'object')
  })
})

describe('with a server', () => {
  const data = join(root, 'd')
  const asked: { readonly method: string; readonly url: string; readonly body: string }[] = []
  let server: Server
  let answer: { readonly status: number; readonly type: string; readonly body: string } = {
    status: 200,
    type: 'application/json',
    body: '{}',
  }
  before(async () => {
    mkdirSync(data)
    server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += chunk))
      request.on('end', () => {
        asked.push({ method: request.method ?? '', url: request.url ?? '', body })
        response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.body)
      })
    })
    await new Promise<void>((resolve) => server.listen(join(data, 'admin.sock'), resolve))
  })
  after(() => server.close())
  const reply = (body: unknown, status = 200): void => {
    answer = { status, type: 'application/json', body: JSON.stringify(body) }
  }
  const value = 'sk-canary-0123456789'
  const set = ['secret', 'set', 'openai', '--for', 'openai', '--data', data]

  test('a secret goes in from stdin, a file and a variable, without its newline', async () => {
    reply({ name: 'openai', service: 'openai', fingerprint: 'f' })
    writeFileSync(join(root, 'key'), `${value}\r\n`)
    asked.length = 0
    for (const [args, input, env] of [
      [['--stdin'], `${value}\n`, {}],
      [['--from-file', join(root, 'key')], '', {}],
      [['--from-env', 'MY_KEY'], '', { MY_KEY: value }],
    ] as const) {
      const ended = await cli([...set, ...args], input, env)
      assert.equal(ended.code, 0, ended.err)
      assert.ok(!`${ended.out}${ended.err}`.includes(value))
    }
    assert.deepEqual(
      asked.map((one) => [one.method, one.url, JSON.parse(one.body)]),
      Array(3).fill(['PUT', '/secrets/openai', { service: 'openai', value: Buffer.from(value).toString('base64'), rotate: false }]),
    )
  })

  test('what is no secret never reaches the server', async () => {
    asked.length = 0
    const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>])[] = [
      ['', ['--stdin'], {}],
      ['\n', ['--stdin'], {}],
      ['a\nb\n', ['--stdin'], {}],
      ['a'.repeat(70_000), ['--stdin'], {}],
      ['', ['--from-env', 'ABSENT'], {}],
      [value, ['--stdin', '--from-env', 'HOME'], {}],
      [value, ['--stdin'], { OSTIARY_RUN: 'r' }],
    ]
    const ended = await Promise.all(cases.map(([input, args, env]) => cli([...set, ...args], input, env)))
    for (const one of ended) assert.equal(one.code, 2, one.err)
    assert.match(ended.at(-1)?.err ?? '', /inside a run/)
    assert.deepEqual(asked, [])
    assert.notEqual(wrongWith(Buffer.from('a\0b')), null)
    assert.notEqual(wrongWith(Buffer.from('a\rb')), null)
    assert.equal(wrongWith(Buffer.alloc(64 * 1024, 'a')), null)
  })

  test('a value in the words of the command is wrong use', async () => {
    const ended = await cli([...set, value])
    assert.equal(ended.code, 2)
  })

  test('code that could look on is refused', async () => {
    const ended = await cli([...set, '--stdin'], value, { NODE_OPTIONS: '--no-warnings' })
    assert.equal(ended.code, 2, ended.err)
    assert.match(ended.err, /NODE_OPTIONS/)
  })

  test('the words of the server are passed on, escaped; mistakes as mistakes', async () => {
    reply({ error: { code: 'runs.unknown', says: 'no \u001b[31m run' } }, 404)
    const refused = await cli(['resume', 'r1', '--data', data])
    assert.deepEqual([refused.code, refused.err.includes('\u001b[31m'), refused.err.includes('\\u001b')], [1, false, true])
    const json = await cli(['resume', 'r1', '--data', data, '--json'])
    assert.equal(JSON.parse(json.out).error.code, 'runs.unknown')
    reply({ ok: false, mistakes: [{ file: 'f', line: 3, path: 'p', wrong: 'w', write: 'x' }] }, 422)
    const reload = await cli(['reload', '--data', data])
    assert.equal(reload.code, 1)
    assert.match(reload.err, /f:3 {2}p/)
    answer = { status: 200, type: 'application/json', body: '<html>' }
    assert.match((await cli(['runs', '--data', data])).err, /not Ostiary/)
  })

  test('revoke asks for one thing', async () => {
    reply({ leases: 1, calls: 2 })
    asked.length = 0
    const done = await cli(['revoke', 'workload', 'coder', '--data', data])
    assert.equal(done.code, 0, done.err)
    assert.deepEqual([asked[0]?.url, asked[0]?.body], ['/revoke', '{"workload":"coder","undo":false}'])
    assert.equal((await cli(['revoke', 'everything', 'x', '--data', data])).code, 2)
  })

  test('status waits until it is ready', async () => {
    reply({ error: { says: 'starting' } }, 503)
    const waiting = cli(['status', '--wait', '20', '--json', '--data', data])
    setTimeout(() => reply({ ready: true, pid: 1 }), 600)
    assert.deepEqual([(await waiting).code, JSON.parse((await waiting).out).pid], [0, 1])
  })
})

describe('without a server', () => {
  test('exit code 3 and what to do', async () => {
    const [text, json] = await Promise.all([
      cli(['runs', '--data', join(root, 'none')]),
      cli(['reload', '--data', join(root, 'none'), '--json']),
    ])
    assert.equal(text.code, 3)
    assert.match(text.err, /not running on .*none: start it by `ostiary start`/)
    assert.equal(json.code, 3)
    assert.equal(JSON.parse(json.out).ok, false)
  })

  test('no log is not an empty log', async () => {
    const ended = await cli(['audit', 'verify', '--data', join(root, 'none')])
    assert.equal(ended.code, 1)
    assert.match(ended.err, /there is no log/)
  })

  test('start and reload refuse inside a run', async () => {
    for (const command of ['start', 'reload', 'stop'])
      assert.equal((await cli([command, '--data', join(root, 'none')], '', { OSTIARY_RUN: 'r' })).code, 2)
  })
})

describe('bin', () => {
  const older = olderNode()
  test('an older Node finds the pinned one, passes words, exit code and signals', {
    skip: older === null && 'no older Node here',
  }, async () => {
    const node = older as string
    const [good, bad, version] = await Promise.all([
      cli(['explain', 'decide.denied', '--json'], '', {}, node),
      cli(['chekc'], '', {}, node),
      cli(['--version'], '', {}, node),
    ])
    assert.equal(JSON.parse(good.out).code, 'decide.denied')
    assert.equal(bad.code, 2)
    assert.match(version.out, /^\d+\.\d+\.\d+\n$/)
    for (const program of [node, process.execPath]) {
      const data = join(root, `s-${program === node}`)
      const config = join(root, `s-${program === node}.yaml`)
      writeFileSync(config, 'trustDomain: a.example\nlisten: { proxy: "127.0.0.1:0", baseUrl: "127.0.0.1:0" }\n')
      const child = spawn(program, [bin, 'start', '--json', '--config', config, '--data', data], { cwd: root, env: clean })
      const ready = await new Promise<string>((resolve) => {
        let out = ''
        child.stdout.on('data', (chunk) => {
          out += chunk
          if (out.includes('"ready":true')) resolve(out)
        })
        child.on('close', () => resolve(out))
      })
      assert.match(ready, /"ready":true/)
      const closed = new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)))
      child.kill('SIGTERM')
      child.kill('SIGINT')
      assert.equal(await closed, 0)
    }
  })
})
