// Fills the machine for the bench: processes that hold descriptors and do nothing, and connections that say nothing.
// argv: processes, descriptors each, connections. Prints `there`. All of it ends when this process is told to end.
import { type ChildProcess, spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

/** The other ends of the connections are a process of their own: both would be twice the descriptors that one may have. */
async function connectTo(port: number, connections: number): Promise<void> {
  const one = (): Promise<void> => new Promise((resolve, reject) => void connect(port, '127.0.0.1', resolve).once('error', reject))
  for (let at = 0; at < connections; at += 100) await Promise.all(Array.from({ length: Math.min(100, connections - at) }, one))
  process.stdout.write('there\n')
}

function fill(processes: number, descriptors: number, connections: number): void {
  const nothing = openSync('/dev/null', 'r+')
  const stdio = Array.from({ length: descriptors }, () => nothing)
  const children: ChildProcess[] = []
  for (let at = 0; at < processes; at++) children.push(spawn('sleep', ['900'], { stdio }))
  process.once('SIGTERM', () => {
    for (const child of children) child.kill('SIGKILL')
    process.exit(0)
  })
  const server = createServer(() => {})
  server.listen(0, '127.0.0.1', 4_096, () => {
    const words = [fileURLToPath(import.meta.url), 'towards', String((server.address() as AddressInfo).port), String(connections)]
    children.push(spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'] }))
  })
}

const [first = '', ...rest] = process.argv.slice(2)
if (first === 'towards') await connectTo(Number(rest[0]), Number(rest[1]))
else fill(Number(first), Number(rest[0]), Number(rest[1]))
