import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { withWhatWasKept } from './environment-kept.ts'

const proc = mkdtempSync(join(tmpdir(), 'ostiary-kept-'))
after(() => rmSync(proc, { recursive: true, force: true }))

function processOf(pid: number, parent: number, environment: Readonly<Record<string, string>> | null): void {
  mkdirSync(join(proc, String(pid)))
  writeFileSync(join(proc, String(pid), 'status'), `Name:\tnode\nPPid:\t${parent}\n`)
  const text = Object.entries(environment ?? {}).map(([name, value]) => `${name}=${value}\0`)
  if (environment !== null) writeFileSync(join(proc, String(pid), 'environ'), text.join(''))
}

processOf(1, 0, { OSTIARY_RUN: 'run-1', OF: 'init' })
processOf(20, 1, null)
processOf(21, 20, { OSTIARY_RUN: 'run-0', PROXY: 'another', OTHER: 'x' })
processOf(22, 21, { OSTIARY_RUN: 'run-1', PROXY: 'http://p:x@127.0.0.1:1', PATH: '/bin', LINES: 'a\nb=c' })
processOf(23, 22, { OSTIARY_RUN: 'run-1', PATH: '/own' })
processOf(24, 23, { PATH: '/none' })

test('what an agent kept from a server comes back, and what it gave stays', () => {
  const own = { OSTIARY_RUN: 'run-1', PATH: '/mine' }
  assert.deepEqual(withWhatWasKept(own, 24, proc), { ...own, PROXY: 'http://p:x@127.0.0.1:1', LINES: 'a\nb=c' })
})

test('of another run, of no run and of a process that cannot be read nothing is taken', () => {
  assert.deepEqual(withWhatWasKept({ OSTIARY_RUN: 'run-2' }, 24, proc), { OSTIARY_RUN: 'run-2' })
  assert.deepEqual(withWhatWasKept({ OSTIARY_RUN: 'run-1' }, 20, proc), { OSTIARY_RUN: 'run-1' })
  assert.deepEqual(withWhatWasKept({ OSTIARY_RUN: 'run-1' }, 99, proc), { OSTIARY_RUN: 'run-1' })
})
