import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Context } from './context.ts'
import { doctorCommand, kindOf } from './doctor-command.ts'

const dir = mkdtempSync(join(tmpdir(), 'ostiary-doctor-'))
after(() => rmSync(dir, { recursive: true, force: true }))

function written(name: string, content: string | Buffer): string {
  const file = join(dir, name)
  writeFileSync(file, content)
  chmodSync(file, 0o755)
  return file
}

const elf = (far: number, marker: string): Buffer =>
  Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(far), Buffer.from(marker, 'latin1')])

test('a script is what runs it, a binary what it holds, wherever that stands', () => {
  for (const [content, kind] of [
    ['#!/usr/bin/env node\n', 'Node'],
    ['#!/usr/bin/env -S A=b node --flag\n', 'Node'],
    ['#!/opt/venv/bin/python3.12\n', 'Python'],
    ['#! /bin/sh\n', 'shell script'],
    ['#!/usr/bin/env -S\n', 'unknown'],
    ['plain words\n', 'unknown'],
    ['', 'unknown'],
    [elf(9, '\xff Go buildinf:'), 'Go'],
    // Across the border of two chunks.
    [elf((1 << 20) - 8, '\xff Go buildinf:'), 'Go'],
    [elf(3 << 20, '/rustc/'), 'Rust'],
    [elf(9, '/rustc/ and ---- Bun! ----'), 'Bun'],
    [Buffer.from('\x7fELF'), 'unknown'],
  ] as const) {
    const file = written('agent', content)
    assert.equal(kindOf(file, 'agent').name, kind, String(content).slice(0, 30))
  }
  assert.equal(kindOf(process.execPath, 'agent').name, 'Node')
})

test('the name that was asked for comes first; a link is followed; nothing there is wrong use', () => {
  assert.equal(kindOf(written('shim', '#!/bin/bash\n'), 'python3').name, 'Python')
  const link = join(dir, 'linked')
  symlinkSync(written('tool', '#!/usr/bin/env node\n'), link)
  const lines: string[] = []
  const context = { out: { json: false, value: (_: unknown, show: () => void) => show(), line: (text: string) => lines.push(text) } }
  assert.equal(doctorCommand(context as unknown as Context, [link, '--flag']), 0)
  assert.match(lines.join('\n'), /linked is Node \(.*tool\)/)
  assert.throws(() => doctorCommand(context as unknown as Context, ['no-such-command']), /no such command/)
  assert.throws(() => doctorCommand(context as unknown as Context, [dir]), /no such command/)
})
