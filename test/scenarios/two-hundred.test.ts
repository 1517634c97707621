// Two hundred agents of forty workloads on one machine, all at once: each call is recorded for who really sent it, and nobody gets by
// with another's pointer, placeholder or path. The agents are small Perl programs, so that two cores carry all of them.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const host = 'api.two-hundred.example'
const key = 'two-hundred-agents-share-this-key-0123456789'
const agentsPerWorkload = 5
const callsEach = 3
const root = process.getuid?.() === 0

interface Workload {
  readonly name: string
  /** As which its agents run; null: as whoever tests. */
  readonly uid: number | null
  readonly inRun: boolean
}

// As root half of them are told apart by their uid, and the others share one uid and are told apart by their runs alone.
const workloads: readonly Workload[] = Array.from({ length: 40 }, (_, at) => {
  const inRun = !root || at % 2 === 0
  return { name: `w${String(at).padStart(2, '0')}`, uid: root ? (inRun ? 30_999 : 30_000 + at) : null, inRun }
})

/** Opens its run at the door, waits for a neighbour's pointer and placeholder, then calls from a child and says what came. */
const agent = String.raw`
use strict; use IO::Socket::UNIX; use IO::Socket::INET; use POSIX ();
my ($uid, $door, $port, $workload, $name, $calls, $in_run, $foreign_path) = @ARGV;
$| = 1;
if ($uid ne '') { POSIX::setgid($uid); $) = "$uid $uid"; POSIX::setuid($uid); }
my ($id, $pointer, $placeholder) = ('', '', '');
my $run;
if ($in_run) {
  $run = IO::Socket::UNIX->new(Peer => $door) or die "door: $!";
  $run->print(qq({"open":{"workload":"$workload","command":"$name","custody":"shared-user","evidence":false,"crossings":[]}}\n));
  my $said = <$run>;
  ($id) = $said =~ /"id":"(run-[0-9a-f]+)"/ or die "no run: $said";
  ($pointer) = $said =~ /"pointer":"(run-[0-9a-f]+)"/;
  ($placeholder) = $said =~ /"placeholder":"([^"]+)"/;
}
print "READY $id $pointer $placeholder\n";
my ($other_pointer, $other_placeholder) = split ' ', scalar <STDIN>;
my $child = fork();
if ($child) { waitpid($child, 0); exit 0; }
my $wire = wire();
sub wire { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "proxy: $!" }
sub ask {
  my ($path, $through, $with) = @_;
  my $prefix = $through eq '' ? '' : "/r/$through";
  my $slot = $with eq '' ? '' : "X-Api-Key: $with\r\n";
  $wire->print("GET $prefix/api$path HTTP/1.1\r\nHost: 127.0.0.1:$port\r\n$slot\r\n");
  my ($status, $length, $close) = (0, 0, 0);
  while (defined(my $line = <$wire>)) {
    $status = $1 if $line =~ m{^HTTP/1.1 (\d+)};
    $length = $1 if $line =~ /^content-length: (\d+)/i;
    $close = 1 if $line =~ /^connection: close/i;
    last if $line eq "\r\n";
  }
  read($wire, my $body, $length) if $length;
  $wire = wire() if $close || !$status;
  return $status;
}
my @own = map { ask("/$workload/$name/$_", $pointer, $placeholder) } 1 .. $calls;
my @foreign = (ask("$foreign_path/$name", $pointer, $placeholder));
if ($in_run) {
  push @foreign, ask("/$workload/$name/stolen", $pointer, $other_placeholder);
  $wire = wire();
  push @foreign, ask("$foreign_path/$name", $other_pointer, $other_placeholder);
} else {
  $wire = wire();
  push @foreign, ask("$foreign_path/$name", $other_pointer, $other_placeholder);
}
print join(' ', 'DONE', $$, join(',', @own), join(',', @foreign)), "\n";
`

interface Agent {
  readonly workload: Workload
  readonly name: string
  readonly child: ChildProcess
  run: string
  pointer: string
  placeholder: string
  pid: number
  own: string
  foreign: string
  said: string
}

function configuration(upstream: number, ca: string): string {
  const who = ({ uid, inRun }: Workload): string =>
    inRun ? `run: { startedBy: ["${uid ?? process.getuid?.()}"] }` : `identify: { process: { user: ${uid} } }`
  const may = ({ name }: Workload): string =>
    `  - cedar: 'permit (principal == Workload::"${name}", action, resource == Service::"api") when { context.request.path like "/${name}/*" };'`
  return `trustDomain: two-hundred.example
listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
egress:
  extraCa: ${ca}
  dangerouslyFixedAddresses: [{ host: ${host}, address: "127.0.0.1:${upstream}", reason: a stand-in, until: ${new Date(Date.now() + 9e8).toISOString().slice(0, 10)} }]
workloads:
${workloads.map((one) => `  ${one.name}: { groups: [all], ${who(one)} }`).join('\n')}
services:
  api: { hosts: [${host}], slot: { header: X-Api-Key } }
credentials:
  api: { service: api, for: [all], static-key: { secret: api } }
policies:
${workloads.map(may).join('\n')}
`
}

/** Resolves when every agent has said it. */
async function all(agents: readonly Agent[], is: (one: Agent) => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (agents.every(is)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const missing = agents.filter((one) => !is(one))
  assert.fail(`${missing.length} agents never said ${what}: ${missing[0]?.name} ${missing[0]?.said}`)
}

function startAgent(workload: Workload, at: number, door: string, port: number): Agent {
  const name = `${workload.name}-${at}`
  const foreign = workloads[(workloads.indexOf(workload) + 1) % workloads.length] as Workload
  const words = [workload.uid ?? '', door, port, workload.name, name, callsEach, workload.inRun ? 1 : '', `/${foreign.name}`]
  const child = spawn('perl', ['-e', agent, ...words.map(String)], { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' })
  const one: Agent = { workload, name, child, run: '', pointer: '', placeholder: '', pid: 0, own: '', foreign: '', said: '' }
  child.stderr?.on('data', (text: Buffer) => {
    one.said += text
  })
  if (child.stdout === null) throw new Error('no output')
  createInterface({ input: child.stdout }).on('line', (line) => {
    one.said += `${line}\n`
    const [what, ...rest] = line.split(' ')
    if (what === 'READY') [one.run = '', one.pointer = '', one.placeholder = ''] = rest
    else if (what === 'DONE') {
      one.pid = Number(rest[0])
      one.own = rest[1] ?? ''
      one.foreign = rest[2] ?? ''
    }
  })
  return one
}

const cannot = spawnSync('perl', ['-MIO::Socket::UNIX', '-MPOSIX', '-e', '1']).status === 0 ? false : 'no perl on this machine'

test('two hundred agents of forty workloads are told apart without a mistake', { skip: cannot, timeout: 90_000 }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-many-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  chmodSync(dir, 0o711)
  mkdirSync(join(dir, 'config'), { mode: 0o700 })
  const now = Date.now()
  const authority = createRootAuthority({ commonName: 'Stand-in', now, years: 1 })
  const leaf = issueLeaf(authority, [host], now, 24 * 3_600_000)
  const arrived: string[] = []
  const upstream = createServer({ cert: leaf.certPem, key: leaf.keyPem }, (request, response) => {
    arrived.push(`${request.url} ${request.headers['x-api-key'] === key}`)
    response.end('{}')
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  t.after(() => upstream.close())
  const ca = join(dir, 'config', 'ca.pem')
  writeFileSync(ca, authority.certPem)
  const configFile = join(dir, 'config', 'ostiary.yaml')
  writeFileSync(configFile, configuration((upstream.address() as AddressInfo).port, ca), { mode: 0o600 })
  const places = ['--config', configFile, '--data', join(dir, 'data')]
  const cli = (words: readonly string[], input = ''): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...places, ...words], { input, encoding: 'utf8', maxBuffer: 1e8 })
    assert.equal(status, 0, `${words.join(' ')}: ${stderr}`)
    return stdout
  }
  cli(['secret', 'set', 'api', '--for', 'api', '--stdin'], key)
  const server = spawn(process.execPath, [bin, ...places, 'start'], { stdio: 'ignore' })
  t.after(() => server.kill('SIGKILL'))
  const status = JSON.parse(cli(['status', '--wait', '15', '--json']))
  const address = (name: string): string => status.listeners.find((one: { name: string }) => one.name === name).address
  const port = Number(address('base-url').split(':').at(-1))

  const agents = workloads.flatMap((workload) =>
    Array.from({ length: agentsPerWorkload }, (_, at) => startAgent(workload, at, address('run'), port)),
  )
  t.after(() => {
    for (const { child } of agents) child.kill('SIGKILL')
  })
  assert.equal(agents.length, 200)
  await all(agents, (one) => one.said.startsWith('READY'), 'READY')
  const inRuns = agents.filter((one) => one.workload.inRun)
  assert.equal(new Set(inRuns.map((one) => one.pointer)).size, inRuns.length)
  // Each is told the pointer and the placeholder of the next one, and nobody waits for anybody.
  for (const [at, one] of agents.entries()) {
    const next = inRuns[(at + agentsPerWorkload) % inRuns.length] as Agent
    const other = next === one ? (inRuns[0] as Agent) : next
    one.child.stdin?.write(`${other.pointer} ${other.placeholder}\n`)
  }
  await all(agents, (one) => one.pid > 0, 'DONE')
  for (const one of agents) {
    assert.equal(one.own, Array(callsEach).fill('200').join(','), `${one.name}: its own calls: ${one.said}`)
    assert.match(one.foreign, /^403(?:,403)+$/, `${one.name}: what is another's: ${one.said}`)
  }
  server.kill('SIGTERM')
  await new Promise((resolve) => server.once('exit', resolve))
  judge(agents, arrived, cli(['audit', 'export']))
})

/** The log against who really sent what: nothing is missing, nothing is more, nothing is another's. */
function judge(agents: readonly Agent[], arrived: readonly string[], exported: string): void {
  const expected = agents.flatMap((one) => Array.from({ length: callsEach }, (_, at) => `/${one.workload.name}/${one.name}/${at + 1}`))
  assert.deepEqual([...arrived].sort(), expected.map((path) => `${path} true`).sort(), 'what came to the API')
  const answered = exported
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((one) => one.outcome === 'answered')
  assert.equal(answered.length, agents.length * callsEach)
  const byName = new Map(agents.map((one) => [one.name, one]))
  for (const record of answered) {
    const sender = byName.get(record.path.split('/')[2])
    assert.deepEqual(
      { workload: record.workload, run: record.run, pid: record.process.pid, uid: record.process.uid },
      {
        workload: sender?.workload.name,
        run: sender?.workload.inRun ? sender.run : null,
        pid: sender?.pid,
        uid: sender?.workload.uid ?? process.getuid?.(),
      },
      record.path,
    )
  }
}
