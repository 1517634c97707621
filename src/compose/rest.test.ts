import assert from 'node:assert/strict'
import test from 'node:test'
import { watchRest } from './rest.ts'

test('memory is given back after the start, and once after each time that something happened, never under a call', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  const look = (): void => t.mock.timers.tick(30_000)
  let [live, happened, given] = [0, 1, 0]
  const giveBack = (): void => {
    given++
  }
  watchRest({ live: () => live, happened: () => happened, giveBack })
  assert.equal(given, 0, 'not before the start is over')
  t.mock.timers.tick(200)
  assert.equal(given, 1)
  look()
  look()
  assert.equal(given, 1, 'nothing has happened since')
  happened = 2
  look()
  assert.equal(given, 1, 'it may still be going on')
  live = 1
  look()
  assert.equal(given, 1, 'a call is under way')
  live = 0
  look()
  assert.equal(given, 2)
  happened = 3
  look()
  happened = 4
  look()
  assert.equal(given, 2, 'never still')
  look()
  look()
  assert.equal(given, 3)
})

test('what happens at once after the start puts it off', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  let [happened, given] = [1, 0]
  const giveBack = (): void => {
    given++
  }
  watchRest({ live: () => 0, happened: () => happened, giveBack })
  happened = 2
  t.mock.timers.tick(200)
  assert.equal(given, 0)
  t.mock.timers.tick(30_000)
  assert.equal(given, 1)
})

test('without the word of the launcher nothing is watched', () => {
  watchRest({ live: () => 0, happened: () => assert.fail('asked'), giveBack: undefined })
})
