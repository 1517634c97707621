// A staged installation with commands that are only written down: what it writes, what it leaves alone, what it takes away.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { installSteps, type Target, uninstallSteps } from './deploy.ts'
import { programFiles } from './program.ts'
import { accountFiles, brokerFlags, nodeFlags, places, services, sockets, unitFiles } from './units.ts'

const temporary = mkdtempSync(join(tmpdir(), 'ostiary-deploy-'))
after(() => rmSync(temporary, { recursive: true, force: true }))
const repository = fileURLToPath(new URL('../..', import.meta.url))
const doors = { proxy: '127.0.0.1:7070', baseUrl: '127.0.0.1:7071' }

/** A program of a few files with two packages, one of them in two versions. */
function smallProgram(): string {
  const dir = mkdtempSync(join(temporary, 'program-'))
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text, { mode: 0o666 })
  }
  write('package.json', '{\n  "name": "ostiary",\n  "dependencies": { "a": "1", "b": "2" },\n  "devDependencies": { "dev": "1" }\n}')
  write('src/main.ts', 'main')
  write('src/main.test.ts', 'test')
  write('bin/ostiary.mjs', 'bin')
  write('node_modules/a/package.json', '{ "name": "a", "dependencies": { "b": "1" } }')
  write('node_modules/a/node_modules/b/package.json', '{ "name": "b", "version": "1" }')
  write('node_modules/b/package.json', '{ "name": "b", "version": "2" }')
  write('node_modules/b/index.d.ts', 'types')
  write('node_modules/dev/package.json', '{ "name": "dev" }')
  symlinkSync('/etc/passwd', join(dir, 'src', 'link.ts'))
  write('node', 'node itself')
  return dir
}

function machine(booted = true) {
  const root = mkdtempSync(join(temporary, 'machine-'))
  const called: string[] = []
  const target: Target = { root, booted, call: (words) => void called.push(words.join(' ')) }
  const source = smallProgram()
  return {
    root,
    called,
    source,
    install: (to = target) => installSteps(to, source, join(source, 'node'), doors).map(({ run }) => run()),
    uninstall: (purge = false) => uninstallSteps(target, purge).map(({ says, run }) => `${says.replace(root, '')} ${run()}`),
    files: () =>
      globSync('**', { cwd: root, withFileTypes: true }).flatMap((one) =>
        one.isFile() ? join(one.parentPath, one.name).slice(root.length) : [],
      ),
  }
}

test('the program is its own code, the packages that it names and theirs, and its Node; no test, no link, no tool', () => {
  const source = smallProgram()
  const { files, extension } = programFiles(source, '/some/node')
  assert.equal(extension, 'ts')
  assert.deepEqual(files.map(({ to }) => to).sort(), [
    'bin/node',
    'bin/ostiary.mjs',
    'node_modules/a/node_modules/b/package.json',
    'node_modules/a/package.json',
    'node_modules/b/package.json',
    'package.json',
    'src/main.ts',
  ])
  rmSync(join(source, 'node_modules/b'), { recursive: true })
  assert.throws(() => programFiles(source, '/some/node'), /the package b is missing: run `npm ci`/)
})

test('an installed package is copied as it was emitted, with the packages that lie beside it', () => {
  const project = mkdtempSync(join(temporary, 'project-'))
  const dir = join(project, 'node_modules/ostiary')
  for (const [path, text] of [
    ['package.json', '{\n  "name": "ostiary",\n  "dependencies": { "a": "1" }\n}'],
    ['dist/main.js', 'main'],
    ['../a/package.json', '{ "name": "a" }'],
  ] as const) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text)
  }
  const { files, extension } = programFiles(dir, '/some/node')
  assert.equal(extension, 'js')
  assert.deepEqual(files.map(({ to }) => to).sort(), ['bin/node', 'dist/main.js', 'node_modules/a/package.json', 'package.json'])
  assert.match(unitFiles(doors, 'js').find(({ path }) => path.endsWith('/ostiary.service'))?.text ?? '', /\/opt\/ostiary\/dist\/main\.js /)
})

test('what is installed belongs to nobody who could change it, and a second time changes nothing', () => {
  const { root, install, files, called } = machine(false)
  const first = install()
  assert.ok(first.includes('copied') && first.includes('written'))
  for (const path of files()) assert.equal(statSync(join(root, path)).mode & 0o022, 0, path)
  for (const unit of [...sockets, ...services]) assert.ok(files().includes(`${places.units}/${unit}`), unit)
  assert.equal(statSync(join(root, places.config)).mode & 0o777, 0o640)
  assert.deepEqual(called, [
    `systemd-sysusers --root=${root} ostiary.conf`,
    `systemd-tmpfiles --root=${root} --create ostiary.conf`,
    `systemctl --root=${root} enable ${sockets.join(' ')} ostiary.service`,
  ])
  const before = files()
  assert.deepEqual([...new Set(install().slice(1, -3))].sort(), ['kept', 'unchanged'])
  assert.deepEqual(files(), before)
})

test('a configuration is never overwritten, nor a file of somebody else', () => {
  const { root, install, uninstall } = machine()
  mkdirSync(join(root, places.configDir), { recursive: true })
  writeFileSync(join(root, places.config), 'mine')
  mkdirSync(join(root, places.units), { recursive: true })
  const unit = join(root, places.units, 'ostiary.service')
  writeFileSync(unit, '[Service]\nExecStart=/mine\n')
  assert.throws(install, /ostiary\.service is there and not of this command: move it away/)
  assert.ok(uninstall().some((line) => /ostiary\.service kept: not written by this command/.test(line)))
  rmSync(unit)
  install()
  assert.equal(readFileSync(join(root, places.config), 'utf8'), 'mine')
  rmSync(join(root, places.program), { recursive: true })
  mkdirSync(join(root, places.program))
  assert.throws(install, /opt\/ostiary is there and is not Ostiary/)
})

test('an update replaces the program whole: what is no longer in it is gone', () => {
  const { root, source, install } = machine()
  install()
  rmSync(join(source, 'bin/ostiary.mjs'))
  writeFileSync(join(source, 'src/main.ts'), 'newer')
  install()
  assert.equal(readFileSync(join(root, places.program, 'src/main.ts'), 'utf8'), 'newer')
  assert.deepEqual(readdirSync(join(root, places.program, 'bin')), ['node'])
  assert.deepEqual(readdirSync(join(root, '/opt')), ['ostiary'])
})

test('uninstall takes away what install wrote, and keeps configuration and data', () => {
  const { root, install, uninstall, files } = machine()
  mkdirSync(join(root, places.data), { recursive: true })
  writeFileSync(join(root, places.data, 'key'), 'secret')
  install()
  uninstall()
  assert.deepEqual(files().sort(), [places.config, `${places.data}/key`])
  assert.ok(uninstall().every((line) => / (?:done|not there)$/.test(line)))
  uninstall(true)
  assert.deepEqual(files(), [])
})

test('on a machine that runs, the sockets are opened anew only when they changed', () => {
  const called: string[] = []
  const source = smallProgram()
  // The plan alone: nothing of it is done to this machine.
  const steps = installSteps(
    { root: '', booted: true, call: (words) => void called.push(words.join(' ')) },
    source,
    join(source, 'node'),
    doors,
  )
  const commands = steps.filter(({ says }) => says.startsWith('run')).map(({ says }) => says.replace(/^run +/, ''))
  assert.deepEqual(commands.slice(3), [
    'systemctl daemon-reload',
    `systemctl stop ${services.join(' ')}`,
    `systemctl restart ${sockets.join(' ')}`,
    'systemctl start ostiary.service',
  ])
  assert.deepEqual(called, [])
})

test('the units run Node as bin/ostiary.mjs does', () => {
  const bin = readFileSync(join(repository, 'bin/ostiary.mjs'), 'utf8')
  const flags = [...(/const flags = \[(.*?)\]/s.exec(bin)?.[1] ?? '').matchAll(/'([^']+)'/g)].map(([, flag]) => flag)
  assert.deepEqual(flags, [...nodeFlags, ...brokerFlags])
})

test('the process that holds secrets has no capability, the reader two; neither is kept from looking at /proc', () => {
  const text = (name: string): string => unitFiles(doors, 'ts').find(({ path }) => path.endsWith(`/${name}`))?.text ?? ''
  const [broker, reader] = [text('ostiary.service'), text('ostiary-facts.service')]
  assert.match(broker, /^CapabilityBoundingSet=\nAmbientCapabilities=\n/m)
  for (const set of ['CapabilityBoundingSet', 'AmbientCapabilities'])
    assert.match(reader, new RegExp(`^${set}=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH$`, 'm'))
  assert.match(reader, /^PrivateNetwork=yes$/m)
  for (const unit of [broker, reader]) assert.doesNotMatch(unit, /^(?:ProtectProc|ProcSubset|PrivateUsers|MemoryDenyWriteExecute)=/m)
  assert.match(text('ostiary-facts.socket'), /^SocketUser=ostiary\nSocketMode=0600$/m)
  assert.match(text('ostiary.socket'), /^ListenStream=127\.0\.0\.1:7070$/m)
})

const judged = spawnSync('systemd-analyze', ['--version']).error === undefined

/** As systemd reads them on this machine: with a program that is there. */
function writtenUnits(): string {
  const dir = mkdtempSync(join(temporary, 'units-'))
  for (const { path, text } of unitFiles(doors, 'ts'))
    writeFileSync(join(dir, path.slice(places.units.length)), text.replaceAll(places.node, process.execPath))
  return dir
}

test('systemd finds no mistake in the units', { skip: !judged && 'no systemd-analyze on this machine' }, () => {
  const dir = writtenUnits()
  const units = [...sockets, ...services].map((name) => join(dir, name))
  const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], { encoding: 'utf8' })
  const about = stderr.split('\n').filter((line) => line.includes('ostiary'))
  assert.deepEqual(about, [])
  const wrong = join(dir, 'ostiary.service')
  writeFileSync(wrong, readFileSync(wrong, 'utf8').replace('NoNewPrivileges=yes', 'NoNewPrivilege=yes'))
  assert.match(spawnSync('systemd-analyze', ['verify', '--man=no', wrong], { encoding: 'utf8' }).stderr, /NoNewPrivilege/)
})

for (const [unit, most] of [
  ['ostiary.service', 1.5],
  ['ostiary-facts.service', 1.2],
] as const)
  test(`${unit} is exposed as little as it can be`, { skip: !judged && 'no systemd-analyze on this machine' }, () => {
    const words = ['security', '--offline=yes', '--no-pager', join(writtenUnits(), unit)]
    const { stdout, stderr } = spawnSync('systemd-analyze', words, { encoding: 'utf8' })
    const level = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1] ?? Number.NaN)
    assert.ok(level <= most, `${level} ${stderr}`)
  })

test('user and folders are declared as systemd reads them', { skip: process.getuid?.() !== 0 && 'only root makes users' }, (t) => {
  if (spawnSync('systemd-sysusers', ['--version']).error !== undefined) return t.skip('no systemd-sysusers on this machine')
  const root = mkdtempSync(join(temporary, 'users-'))
  for (const { path, text } of accountFiles) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  for (const words of [
    ['systemd-sysusers', `--root=${root}`, 'ostiary.conf'],
    ['systemd-tmpfiles', `--root=${root}`, '--create', 'ostiary.conf'],
  ]) {
    const { status, stderr } = spawnSync(words[0] as string, words.slice(1), { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
  const [, uid] =
    /^ostiary:[^:]*:(\d+):.*:\/var\/lib\/ostiary:\/usr\/sbin\/nologin$/m.exec(readFileSync(join(root, '/etc/passwd'), 'utf8')) ?? []
  const found = (path: string) => statSync(join(root, path))
  assert.deepEqual([found(places.data).mode & 0o777, found(places.data).uid], [0o700, Number(uid)])
  assert.deepEqual([found(places.publicData).mode & 0o777, found(places.publicData).uid], [0o755, Number(uid)])
  assert.deepEqual([found(places.configDir).mode & 0o777, found(places.configDir).uid], [0o750, 0])
})
