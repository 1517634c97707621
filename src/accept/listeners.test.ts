// Listeners that somebody opened for us are refused when they are not where agents are sent; that they are served is a scenario.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkPassed } from './listeners.ts'

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
