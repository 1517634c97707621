// Listeners that somebody opened for us are refused when they are not where agents are sent; that they are served is a scenario.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { test } from 'node:test'
import { limits } from '../model/limits.ts'
import { checkPassed, createListeners } from './listeners.ts'

const at = (address: string, port: number) => ({ address, port, family: 'IPv4' })

test('a passed socket is where the configuration says', () => {
  checkPassed(at('127.0.0.1', 7070), { host: '127.0.0.1', port: 7070 })
  checkPassed(at('::1', 7070), { host: '::1', port: 7070 })
  // A name has several addresses: its port is what can be compared.
  checkPassed(at('127.0.0.1', 7070), { host: 'localhost', port: 7070 })
})

test('a passed socket of another address or port, or none, is a mistake that says what to do', () => {
  const wanted = { host: '127.0.0.1', port: 7070 }
  for (const found of [at('127.0.0.1', 7071), at('0.0.0.0', 7070), '/run/some.sock', null])
    assert.throws(
      () => checkPassed(found, wanted),
      /the socket that was passed is .*, and listen says 127\.0\.0\.1:7070: `ostiary install`/,
    )
})

const kernelMax = process.platform === 'linux' ? Number(readFileSync('/proc/sys/net/core/somaxconn', 'latin1')) : 0
const together = 700

// What comes to a full queue is dropped by the kernel: it tries again after a second, after three and after seven.
test('hundreds may come at once', { skip: kernelMax <= together && 'this kernel holds fewer' }, async () => {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const listeners = createListeners(limits, log)
  const { port } = await listeners.listen({ host: '127.0.0.1', port: 0 }, () => {})
  const agents = Array.from({ length: together }, () => connect(port, '127.0.0.1').on('error', () => {}))
  // All have asked, and nobody was let in yet.
  await new Promise<void>((resolve) => process.nextTick(resolve))
  const to = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  const states = rows.filter((row) => row[2] === to).map((row) => row[3])
  for (const agent of agents) agent.destroy()
  listeners.close()
  assert.equal(states.length, together)
  assert.equal(states.filter((state) => state !== '01').length, 0, 'each is connected')
})
