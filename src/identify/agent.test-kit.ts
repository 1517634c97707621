// A peer as the kernel tells of it, for the tests of this room.
import type { PeerFacts, ProcessFacts } from '../model/evidence.ts'

export const agentProcess: ProcessFacts = {
  pid: 4_242,
  startTicks: '77',
  uid: 1_000,
  gid: 1_000,
  user: 'agent',
  executable: '/usr/bin/node',
  executableSha256: 'ab'.repeat(32),
  cgroup: '0::/system.slice/research.service',
  systemUnit: 'research.service',
  containerId: '',
  pidNamespace: '4026531836',
  ancestors: ['1:1'],
}

export const agentPeer: PeerFacts = {
  transport: 'tcp',
  address: '127.0.0.1',
  port: 40_000,
  loopback: true,
  secure: false,
  uid: 1_000,
  process: agentProcess,
  why: '',
}
