// git and gh at home in a run: clone, fetch and push through Ostiary against the real `git http-backend`, with no token in reach.
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Ended, ended } from '../../examples/story/ended.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { type GitHost, startGitHost } from '../fakes/git-host.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const skip = spawnSync('git', ['http-backend'], { env: { ...process.env, GIT_PROJECT_ROOT: '/nowhere' } }).error
  ? 'no git on this machine'
  : false
const token = `ghp_${randomBytes(18).toString('hex')}`
const own = 'ghp_theUsersOwnTokenThatNobodyShouldSee00'
const dir = mkdtempSync(join(tmpdir(), 'ostiary-git-'))
const work = join(dir, 'work')
// Below the working folder: of /tmp a run sees nothing else.
const home = join(work, 'home')
let host: GitHost
let server: ChildProcess
const log: string[] = []

const configuration = (port: number): string => `trustDomain: git.example
listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
egress:
  extraCa: ca.pem
  dangerouslyFixedAddresses:
${['github.com', 'api.github.com']
  .map(
    (name) =>
      `    - { host: ${name}, address: "127.0.0.1:${port}", reason: stand-in, until: ${new Date(Date.now() + 86_400_000 * 9).toISOString().slice(0, 10)} }`,
  )
  .join('\n')}
workloads:
  coder: { run: { startedBy: ["${process.getuid?.()}"] } }
services: { github: {} }
credentials:
  github: { service: github, for: [coder], static-key: { secret: github } }
policies:
  - cedar: |
      @id("read what there is")
      permit (principal == Workload::"coder", action in Action::"git.fetch", resource == Service::"github");
      @id("push to its own repository")
      permit (principal == Workload::"coder", action in Action::"git.push", resource == Service::"github")
      when { context.request has repository && context.request.repository == "acme/site" };
      @id("look at the API")
      permit (principal == Workload::"coder", action in Action::"state", resource == Service::"github")
      when { context.request.method == "GET" };
`

const ostiary = (words: readonly string[], input = ''): Promise<Ended> =>
  ended(process.execPath, [bin, '--config', join(dir, 'config', 'ostiary.yaml'), '--data', join(dir, 'data'), ...words], {
    cwd: work,
    env: { ...process.env, HOME: home, GIT_ASKPASS: join(home, 'askpass'), GITHUB_TOKEN: own },
    input,
  })

const inRun = (command: string): Promise<Ended> => ostiary(['run', '--', 'sh', '-c', command])

before(async () => {
  if (skip) return
  chmodSync(dir, 0o711)
  for (const name of ['data', 'config', 'work', 'work/home', 'repositories']) mkdirSync(join(dir, name), { mode: 0o755 })
  for (const name of ['data', 'config']) chmodSync(join(dir, name), 0o700)
  // What a user's machine has: helpers and a header that would give the user's own token, and remotes by SSH.
  writeFileSync(
    join(home, '.gitconfig'),
    `[user]\n\tname = Coder\n\temail = coder@git.example\n[init]\n\tdefaultBranch = main\n[credential]\n\thelper = "!f() { echo username=u; echo password=${own}; }; f"\n[credential "https://github.com"]\n\thelper = "!f() { echo username=u; echo password=${own}; }; f"\n[http "https://github.com/"]\n\textraHeader = "Authorization: Basic ${Buffer.from(`u:${own}`).toString('base64')}"\n[core]\n\taskPass = ${join(home, 'askpass')}\n`,
  )
  writeFileSync(join(home, 'askpass'), `#!/bin/sh\necho ${own}\n`, { mode: 0o755 })
  const ca = createRootAuthority({ commonName: 'Stand-in git host', now: Date.now(), years: 1 })
  const leaf = issueLeaf(ca, ['github.com', 'api.github.com'], Date.now(), 86_400_000)
  host = await startGitHost({
    certificate: { cert: leaf.certPem, key: leaf.keyPem },
    folder: join(dir, 'repositories'),
    token,
    open: ['acme/open'],
  })
  for (const name of ['acme/site', 'acme/other', 'acme/open']) seed(host.create(name))
  writeFileSync(join(dir, 'config', 'ca.pem'), ca.certPem, { mode: 0o600 })
  writeFileSync(join(dir, 'config', 'ostiary.yaml'), configuration(host.port), { mode: 0o600 })
  const sealed = await ostiary(['secret', 'set', 'github', '--for', 'github', '--stdin'], token)
  assert.equal(sealed.code, 0, sealed.err)
  server = spawn(process.execPath, [bin, '--config', join(dir, 'config', 'ostiary.yaml'), '--data', join(dir, 'data'), 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', (text: Buffer) => log.push(text.toString()))
  assert.equal((await ostiary(['status', '--wait', '20'])).code, 0, log.join(''))
})
after(async () => {
  if (server !== undefined) {
    server.kill('SIGTERM')
    await new Promise((resolve) => server.once('exit', resolve))
  }
  await host?.close()
  rmSync(dir, { recursive: true, force: true })
})

function seed(folder: string): void {
  const git = (words: readonly string[], input = ''): string =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=S', '-c', 'user.email=s@git.example', ...words], { input, encoding: 'utf8' }).trim()
  const blob = git(['hash-object', '-w', '--stdin'], 'hello\n')
  const tree = git(['mktree'], `100644 blob ${blob}\tREADME\n`)
  git(['update-ref', 'refs/heads/main', git(['commit-tree', tree, '-m', 'first'])])
  git(['symbolic-ref', 'HEAD', 'refs/heads/main'])
}

test('a private repository is cloned, changed and pushed, and the run never holds the token', { skip }, async () => {
  // Incompressible and above http.postBuffer: the pack goes in chunks, after a probe.
  const done = await inRun(
    `git clone -q https://github.com/Acme/Site.git site && cd site && cat README && head -c 3000000 /dev/urandom > big && git add big && git commit -qm big &&
     git push -q origin HEAD && git fetch -q && git log --oneline origin/main`,
  )
  assert.equal(done.code, 0, done.err)
  assert.match(done.out, /^hello\n\S+ big\n\S+ first$/m)
  const there = execFileSync('git', ['-C', join(dir, 'repositories/acme/site.git'), 'ls-tree', '-l', 'main'], { encoding: 'utf8' })
  assert.match(there, /3000000\tbig/)
  assert.ok(!`${done.out}${done.err}`.includes(token))
  // Nobody waited for a 401: the placeholder stood in the first request.
  assert.deepEqual(
    host.seen.filter((one) => one.headers.authorization === undefined),
    [],
  )
  assert.ok(host.seen.some((one) => one.headers['transfer-encoding'] === 'chunked'))
})

test('a push to another repository is refused before anything leaves, and git shows why', { skip }, async () => {
  const before = host.seen.length
  const done = await inRun(
    'git clone -q https://github.com/acme/other.git other && cd other && git commit -q --allow-empty -m x && git push origin HEAD',
  )
  assert.notEqual(done.code, 0)
  assert.match(done.err, /403/)
  assert.ok(
    host.seen.slice(before).every((one) => !one.line.includes('receive-pack')),
    'nothing of the push arrives',
  )
  const refused = (await ostiary(['audit', 'export'])).out.split('\n').filter((line) => line.includes('decide.denied'))
  assert.ok(refused.length > 0)
})

test('remotes by SSH go by HTTPS; a repository that needs no token is read', { skip }, async () => {
  const done = await inRun('git ls-remote git@github.com:acme/site.git main; git ls-remote ssh://git@github.com/acme/open main')
  assert.equal(done.code, 0, done.err)
  assert.equal(done.out.match(/refs\/heads\/main/g)?.length, 2)
})

test('git credential fill gives nothing, gh and every variable no more than the placeholder', { skip }, async () => {
  const fill = await inRun('printf "protocol=https\\nhost=github.com\\n\\n" | git credential fill')
  assert.notEqual(fill.code, 0)
  assert.doesNotMatch(`${fill.out}${fill.err}`, /password=|ghp_/)
  const shown = await inRun('env; git config --show-scope -l')
  assert.ok(!shown.out.includes(token))
  assert.match(shown.out, /^GH_TOKEN=ghp_Ost1ary/m)
  assert.ok(!/^[^=]*=.*theUsersOwn/m.test((await inRun('env')).out))
  const gh = await inRun('command -v gh >/dev/null && gh auth token || echo "$GH_TOKEN"')
  assert.match(gh.out, /^ghp_Ost1ary/)
})

test('clients that wait for a 401 first, and those that never show anything', { skip }, async () => {
  const curl = 'curl -s -o /dev/null -w "%{http_code} "'
  const refs = (name: string): string => `https://github.com/acme/${name}/info/refs?service=git-upload-pack`
  if (spawnSync('curl', ['--version']).error) return
  const before = host.seen.length
  // Without the placeholder a call goes on bare: a 401 where a token is needed, and no way to use ours without meaning it.
  const bare = await inRun(
    `${curl} ${refs('open')}; ${curl} ${refs('site')}; ${curl} -u "x-access-token:$GH_TOKEN" ${refs('site')}; ${curl} https://api.github.com/user`,
  )
  assert.equal(bare.out.trim(), '200 401 200 200', bare.err)
  assert.deepEqual(
    host.seen.slice(before).map((one) => one.headers.authorization?.split(' ')[0]),
    [undefined, undefined, 'Basic', undefined],
  )
  // gh writes `token`, others Bearer; the API gets Bearer either way, and a 401 for a bare call cost no lease.
  const api = await inRun(`for s in token Bearer; do curl -s -H "Authorization: $s $GH_TOKEN" https://api.github.com/user; done`)
  assert.equal(api.out, '{"login":"robot"}{"login":"robot"}', api.err)
  const foreign = await inRun(`${curl} -u "x-access-token:${own}" ${refs('site')}; ${curl} -u "$GH_TOKEN:x" ${refs('site')}`)
  assert.equal(foreign.out.trim(), '403 403')
})

test('records name the action and never the token; gzip bodies and a probe pass unchanged', { skip }, async () => {
  const many = await inRun(
    'git clone -q https://github.com/acme/site.git wants && cd wants && for i in $(seq 60); do git commit -q --allow-empty -m "c$i" && git tag "a-rather-long-name-$i"; done && git push -q origin HEAD --tags && cd .. && git clone -q --mirror https://github.com/acme/site.git mirror && git -C mirror tag | wc -l',
  )
  assert.equal(many.code, 0, many.err)
  assert.equal(many.out.trim(), '60')
  assert.ok(
    host.seen.some((one) => one.headers['content-encoding'] === 'gzip'),
    'git compresses a long list of wants',
  )
  const records = (await ostiary(['audit', 'export'])).out
  assert.ok(records.includes('git.push') && records.includes('git.fetch'))
  for (const text of [records, log.join('')])
    assert.ok(!text.includes(token) && !text.includes(Buffer.from(`x-access-token:${token}`).toString('base64')))
  assert.ok(!readFileSync(join(dir, 'work', 'site', '.git', 'config'), 'utf8').includes('ghp_'))
})

test('no spelling of a path, a query or a method leads a push past its policy', { skip }, async () => {
  if (spawnSync('curl', ['--version']).error) return
  const before = host.seen.length
  const auth = '-u "x-access-token:$GH_TOKEN"'
  const paths = [
    '/acme/other.git/git-receive-pack',
    '/ACME/Other/git-receive-pack/',
    '/acme/other.git/Git-Receive-Pack',
    '/acme/other.git/git-receive-p%61ck',
    '/acme/site.git/../other.git/git-receive-pack',
    '/acme/site/%2e%2e/other/git-receive-pack',
    '//acme/other/git-receive-pack',
    '/acme%2fother/git-receive-pack',
    '/acme/other;x/git-receive-pack',
    '/acme/site.git.git/git-receive-pack',
  ]
  const queries = [
    '?service=git-receive-pack',
    '?service=git-upload-pack&service=git-receive-pack',
    '?service=git%2dreceive-pack',
    '?x&service=git-receive-pack',
    '',
  ]
  const asks = [
    ...paths.map((path) => `-X POST -d 0000 'https://github.com${path}'`),
    ...queries.map((query) => `'https://github.com/acme/other.git/info/refs${query}'`),
    "-X POST -H 'X-HTTP-Method-Override: GET' 'https://github.com/acme/site.git/git-upload-pack'",
    "-X POST 'https://github.com/login/oauth/access_token'",
    "-X POST 'https://api.github.com/app/installations/1/access_tokens'",
    "-X POST 'https://api.github.com/repos/acme/site/keys'",
    "-X POST -d '{}' 'https://api.github.com/graphql'",
    "-X DELETE 'https://api.github.com/repos/acme/site'",
  ]
  const done = await inRun(asks.map((ask) => `curl -s -o /dev/null --path-as-is -w "%{http_code} " ${auth} ${ask}`).join('\n'))
  const codes = done.out.trim().split(' ')
  assert.equal(codes.length, asks.length, done.err)
  const answered = asks.map((ask, index) => `${codes[index]} ${ask}`)
  assert.deepEqual(
    answered.filter((one) => !/^40[03] /.test(one)),
    [],
  )
  assert.equal(host.seen.length, before, 'nothing of it leaves')
})

test("a repository's own header with a real token is refused, a body that waits for 100 is taken", { skip }, async () => {
  const header = `Authorization: Basic ${Buffer.from(`u:${own}`).toString('base64')}`
  const done = await inRun(
    `git clone -q https://github.com/acme/open headed && cd headed && git config http.https://github.com/acme/.extraHeader "${header}" && git fetch`,
  )
  assert.notEqual(done.code, 0)
  assert.match(done.err, /403/)
  assert.ok(!host.seen.some((one) => one.headers.authorization === header.slice(15)))
  const waits = await inRun(
    'cd headed 2>/dev/null || git clone -q https://github.com/acme/open headed && cd headed; git remote set-url origin https://github.com/acme/site && git config --unset http.https://github.com/acme/.extraHeader; git pull -q --rebase; head -c 2500000 /dev/urandom > more && git add more && git commit -qm more && git -c http.expectContinue=true -c http.postBuffer=65536 push -q origin HEAD',
  )
  assert.equal(waits.code, 0, waits.err)
})
