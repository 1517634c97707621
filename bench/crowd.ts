// Fills the machine for the bench: processes that hold descriptors and do nothing, and connections that say nothing.
// argv: processes, descriptors each, connections. Prints `there`. All of it ends when this process is told to end.
import { type ChildProcess, spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'

const [processes = 0, descriptors = 0, connections = 0] = process.argv.slice(2).map(Number)
const nothing = openSync('/dev/null', 'r+')
const children: ChildProcess[] = []
for (let at = 0; at < processes; at++) children.push(spawn('sleep', ['900'], { stdio: Array.from({ length: descriptors }, () => nothing) }))
process.once('SIGTERM', () => {
  for (const child of children) child.kill('SIGKILL')
  process.exit(0)
})
// Both ends of a connection are descriptors here, so it is a half of them.
const server = createServer(() => {})
server.listen(0, '127.0.0.1', 4_096, async () => {
  const { port } = server.address() as AddressInfo
  const one = (): Promise<void> => new Promise((resolve, reject) => void connect(port, '127.0.0.1', resolve).once('error', reject))
  for (let at = 0; at < connections; at += 100) await Promise.all(Array.from({ length: Math.min(100, connections - at) }, one))
  process.stdout.write('there\n')
})
