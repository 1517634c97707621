import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { gitVariables, leadsGitToCredentials } from './git.ts'

const skip = spawnSync('git', ['--version']).error ? 'no git on this machine' : false
const variables = gitVariables(
  [{ basicAt: { user: 'x-access-token', hosts: ['git.acme.example'] }, placeholder: 'ghp_Ost1ary1' }, { placeholder: 'sk-Ost1ary2' }],
  'http://run-p:x@127.0.0.1:7070',
)

function git(words: readonly string[], input = ''): string {
  return spawnSync('git', words, { input, encoding: 'utf8', env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...variables } }).stdout
}

test('git sees the settings as the last word, and gives no credential', { skip }, () => {
  assert.equal(
    git(['config', '--get-urlmatch', 'http.extraHeader', 'https://git.acme.example/a/b']),
    `Authorization: Basic ${btoa('x-access-token:ghp_Ost1ary1')}\n`,
  )
  assert.equal(git(['config', '--get-urlmatch', 'http.extraHeader', 'https://other.example/a/b']), '')
  assert.equal(git(['config', 'http.proxy']), 'http://run-p:x@127.0.0.1:7070\n')
  assert.equal(git(['ls-remote', '--get-url', 'git@git.acme.example:a/b.git']), 'https://git.acme.example/a/b.git\n')
  assert.equal(git(['ls-remote', '--get-url', 'ssh://git@git.acme.example/a/b']), 'https://git.acme.example/a/b\n')
  assert.equal(git(['credential', 'fill'], 'protocol=https\nhost=git.acme.example\n\n'), '')
})

test('what the user hands to git by variables does not reach a run', () => {
  for (const name of [
    'GIT_CONFIG_COUNT',
    'GIT_CONFIG_KEY_12',
    'GIT_CONFIG_PARAMETERS',
    'GIT_ASKPASS',
    'SSH_ASKPASS_REQUIRE',
    'VSCODE_GIT_IPC_HANDLE',
  ])
    assert.ok(leadsGitToCredentials(name), name)
  for (const name of ['GIT_AUTHOR_NAME', 'GIT_DIR', 'GIT_EDITOR', 'GIT_CONFIG_GLOBAL']) assert.ok(!leadsGitToCredentials(name), name)
})
