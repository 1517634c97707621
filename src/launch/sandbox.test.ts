import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { planCovers } from './covers.ts'
import { probeSandbox, sandboxWords } from './sandbox.ts'

const uid = process.getuid?.() ?? 0
const probe = probeSandbox(uid)
const skip = probe.custody === 'namespace' ? false : `no namespaces here: ${probe.why}`

function inside(shell: string, exposed: readonly string[] = []): { out: string; code: number | null } {
  const base = mkdtempSync(join(tmpdir(), 'ostiary-sandbox-'))
  for (const name of ['data', 'config', 'work', 'out']) mkdirSync(join(base, name))
  writeFileSync(join(base, 'data', 'key'), 'the-key')
  writeFileSync(join(base, 'config', 'ostiary.yaml'), 'trustDomain: a.example')
  writeFileSync(join(base, 'config', 'policy.cedar'), 'the-policy')
  const { steps } = planCovers({
    uid,
    home: homedir(),
    workingDir: join(base, 'work'),
    environment: process.env,
    exposed,
    own: {
      hidden: [join(base, 'data')],
      readOnly: [join(base, 'config')],
      blank: [join(base, 'config', 'policy.cedar')],
      kept: [join(base, 'config')],
    },
  })
  const words = sandboxWords(steps, uid, process.getgid?.() ?? 0, ['sh', '-c', shell, 'sh', base])
  const done = spawnSync(words[0] as string, words.slice(1), {
    encoding: 'utf8',
    cwd: join(base, 'work'),
    env: { ...process.env, B: base },
  })
  return { out: done.stdout + done.stderr, code: done.status }
}

test('the data directory does not exist inside, nor after umount or a nested unshare', { skip }, () => {
  const { out } = inside(
    'cat $B/data/key; umount $B/data; umount -l /tmp; cat $B/data/key; unshare -Urm sh -c "umount $B/data; umount /tmp; cat $B/data/key"; id -u',
  )
  assert.doesNotMatch(out, /the-key/)
  assert.match(out, new RegExp(`^${uid}$`, 'm'))
})

test('the configuration is read, never written, nor remounted', { skip }, () => {
  const { out } = inside(
    'cat $B/config/ostiary.yaml; echo x > $B/config/ostiary.yaml; mount -o remount,bind,rw $B/config; echo y > $B/config/new; cat $B/config/ostiary.yaml; ls $B/config',
  )
  assert.equal(out.match(/trustDomain: a\.example/g)?.length, 2)
  assert.doesNotMatch(out, /^new$/m)
})

test('a blanked file is empty, and stays so after umount, a write and a rename', { skip }, () => {
  const { out } = inside('f=$B/config/policy.cedar; cat $f; umount $f; echo new > $f; mv $f $f.2; rm -f $f; cat $f; ls $B/config')
  assert.doesNotMatch(out, /the-policy|^new$/m)
  assert.match(out, /^policy\.cedar$/m)
})

test('foreign processes do not exist, /tmp is its own, no capability is left, and the exit code passes', { skip }, () => {
  const { out, code } = inside('ls -d /proc/[0-9]* | wc -l; ls -A /tmp; grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status; exit 7')
  assert.equal(code, 7)
  assert.ok(Number(out.split('\n')[0]) < 12, out)
  assert.match(out, /CapEff:\s0+\n/)
  // An ordinary user loses every capability at exec; only root needs an empty bounding set as well.
  if (uid === 0) assert.match(out, /CapBnd:\s0+\n/)
  assert.match(out, /NoNewPrivs:\s1/)
})

test('exposed, /dev is the machine’s own, and nothing of the making stays behind in it', { skip }, () => {
  const { out } = inside('ls /dev/shm; ls -d /dev/fd /dev/ptmx; ls /dev | wc -l', ['devices'])
  const own = inside('ls /dev | wc -l').out
  assert.doesNotMatch(out, /^json$|^tmp$|^dev$/m)
  assert.ok(Number(out.trim().split('\n').at(-1)) > Number(own.trim()), out)
})
