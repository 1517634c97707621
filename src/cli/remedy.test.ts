import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refusals } from '../model/refusal.ts'
import { type Refused, remedy } from './remedy.ts'
import { agentOf } from './unbrokered.ts'

const refused: Refused = {
  code: 'decide.denied',
  workload: 'coder',
  host: 'api.openai.com',
  service: 'openai',
  action: 'inference',
  method: 'POST',
  detail: null,
  run: 'run-1',
  process: { pid: 7 },
}

test('what would allow it is a command or a line', () => {
  assert.equal(remedy(refused), 'ostiary allow api.openai.com --for coder --action inference')
  assert.equal(remedy({ ...refused, code: 'accept.host_unmanaged' }), 'ostiary allow api.openai.com --for coder')
  assert.equal(remedy({ ...refused, action: 'tunnel' }), 'ostiary allow api.openai.com --for coder --tunnel REASON')
  assert.match(remedy({ ...refused, code: 'decide.forbidden', detail: 'by "no"' }), /by "no"/)
  assert.equal(remedy({ ...refused, code: 'decide.method' }), 'services: { openai: { methods: [POST, ...] } }')
  assert.match(remedy({ ...refused, code: 'identify.no_workload', workload: null }), /^ostiary identify 7 /)
  assert.equal(remedy({ ...refused, code: 'identify.suspended' }), 'ostiary resume run-1')
})

test('every code has one, a code of another version too', () => {
  for (const code of Object.keys(refusals)) assert.ok(remedy({ ...refused, code }).length > 10, code)
  assert.equal(remedy({ ...refused, code: 'later.code' }), 'ostiary explain later.code')
})

test('an agent is known by its program, or by the script that an interpreter runs', () => {
  assert.equal(agentOf(['/usr/bin/claude', '--help']), 'claude')
  assert.equal(agentOf(['node', '--no-warnings', '/opt/x/bin/gemini.js']), 'gemini')
  assert.equal(agentOf(['/usr/bin/python3.12', '/usr/local/bin/aider']), 'aider')
  assert.equal(agentOf(['vim', 'claude']), null)
  assert.equal(agentOf(['node', 'server.js', 'codex']), null)
  assert.equal(agentOf(['']), null)
})
