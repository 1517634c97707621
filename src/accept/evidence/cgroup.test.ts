import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseCgroup } from './cgroup.ts'
import { parseStat } from './proc.ts'

const id = '0123456789abcdef'.repeat(4)
const other = 'fedcba9876543210'.repeat(4)

const fixtures: readonly (readonly [string, string, string, string])[] = [
  ['v2 system unit', '0::/system.slice/research.service\n', 'research.service', ''],
  ['v2 instance in a slice', '0::/system.slice/system-getty.slice/getty@tty1.service\n', 'getty@tty1.service', ''],
  ['the outermost unit counts, what is below is delegated', '0::/system.slice/a.service/system.slice/root.service\n', 'a.service', ''],
  ['a unit of a user', '0::/user.slice/user-1000.slice/user@1000.service/app.slice/research.service\n', '', ''],
  ['a user who names a slice system.slice', '0::/user.slice/user-1000.slice/user@1000.service/system.slice/research.service\n', '', ''],
  ['a scope is no unit', '0::/system.slice/research.service.scope\n', '', ''],
  ['outside of our cgroup namespace', '0::/../../system.slice/research.service\n', '', ''],
  ['v1', '12:memory:/system.slice/a.service\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n', 'a.service', ''],
  ['hierarchies that contradict each other', '1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n', '', ''],
  ['v2 Docker by systemd', `0::/system.slice/docker-${id}.scope\n`, '', id],
  [
    'v1 Docker, with the unified line of its runtime',
    `2:cpu:/docker/${id}\n1:name=systemd:/docker/${id}\n0::/system.slice/containerd.service\n`,
    '',
    id,
  ],
  ['Podman as root', `0::/machine.slice/libpod-${id}.scope/container\n`, '', id],
  ['Podman of a user', `0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${id}.scope\n`, '', ''],
  [
    'Kubernetes by systemd',
    `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-${id}.scope\n`,
    '',
    id,
  ],
  ['Kubernetes by cgroupfs', `0::/kubepods/burstable/pod1234/${id}\n`, '', id],
  ['ECS', `0::/ecs/0a1b/${id}\n`, '', id],
  ['a container that plays another below itself', `0::/docker/${id}/docker/${other}\n`, '', id],
  ['a unit with delegation that plays a container', `0::/system.slice/agent.service/docker-${id}.scope\n`, 'agent.service', ''],
  ['two containers', `1:name=systemd:/docker/${id}\n0::/docker/${other}\n`, '', ''],
  ['a short id', '0::/docker/0123\n', '', ''],
  ['nothing', '0::/\n', '', ''],
  ['empty', '', '', ''],
]
for (const [name, text, systemUnit, containerId] of fixtures) {
  test(`cgroup: ${name}`, () => {
    const parsed = parseCgroup(text)
    assert.deepEqual([parsed.systemUnit, parsed.containerId], [systemUnit, containerId])
  })
}

test('cgroup: the telling line is kept', () => {
  assert.equal(parseCgroup('1:name=systemd:/\n0::/system.slice/a.service\n').line, '0::/system.slice/a.service')
  assert.equal(parseCgroup('3:cpu:/x\n1:name=systemd:/\n').line, '1:name=systemd:/')
})

test('cgroup: whatever a user writes below user.slice proves nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('system.slice', 'a.service', `docker-${id}.scope`, id, 'docker', 'kubepods', '..')), (names) => {
      const parsed = parseCgroup(`0::/user.slice/${names.join('/')}\n`)
      assert.deepEqual([parsed.systemUnit, parsed.containerId], ['', ''])
    }),
  )
})

test('stat: the name of a process may hold anything', () => {
  const rest = `S 7 ${new Array(17).fill('0').join(' ')} 4711 0 0`
  for (const name of ['sh', 'a) b (c', ')', ') S 1 (', 'x\ny']) {
    assert.deepEqual(parseStat(`42 (${name}) ${rest}`), { parent: 7, startTicks: '4711' }, name)
  }
  assert.equal(parseStat(''), null)
})
