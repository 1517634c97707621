// CONNECT to what is no plain HOST:PORT, to a managed host by another of its names, and tunnels that say one name outside and
// another inside: each tried on the wire, none becomes a call or a tunnel to somebody else.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dial, openDoor, read, say, tunnelled, wholeAnswer } from './fake-agent.ts'

const connectTo = (authority: string, host = authority): string => `CONNECT ${authority} HTTP/1.1\r\nHost: ${host}\r\n\r\n`

test('odd authorities: refused as they stand, and no call or tunnel begins', async () => {
  const begun: string[] = []
  const door = await openDoor({
    onCall: (call) => void begun.push(`call ${call.target.host}`),
    onTunnel: (call) => {
      begun.push(`tunnel ${call.target.host}:${call.target.port}`)
      call.cut()
    },
  })
  for (const authority of [
    'api.openai.test',
    'api.openai.test:',
    'api.openai.test:0',
    'api.openai.test:65536',
    'api.openai.test:+443',
    'api.openai.test:0x1bb',
    'api.openai.test:443:443',
    'api.openai.test@evil.test:443',
    'evil.test#@api.openai.test:443',
    'api.openai.test\\evil.test:443',
    'api.openai.test%00.evil.test:443',
    'api.openai.test%2eevil.test:443',
    'api.openai.test/:443',
    'https://api.openai.test:443',
    '2130706433:443',
    '0x7f000001:443',
    '0177.0.0.1:443',
    '127.1:443',
    '127.0.0.1.:443',
    '[::1%25lo]:443',
    '[127.0.0.1]:443',
    '[api.openai.test]:443',
    '*.openai.test:443',
    'api..openai.test:443',
    '.api.openai.test:443',
    '-api.openai.test:443',
    `${'a'.repeat(64)}.test:443`,
    `${'a.'.repeat(140)}test:443`,
    ':443',
  ]) {
    const answer = await say(door.proxyPort, connectTo(authority))
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, `${authority}: ${answer}`)
    assert.doesNotMatch(answer, /evil|2130706433/, 'what was sent is not said back')
  }
  // A managed host at the port of something else: mail, shells, Ostiary's like.
  for (const port of [1, 22, 25, 80, 110, 465, 587, 993, 2375, 3306, 5432, 6379, 7070, 8080, 8443, 65_535])
    assert.match(await say(door.proxyPort, connectTo(`api.openai.test:${port}`)), /^HTTP\/1\.1 403 .*accept\.host_unmanaged/, `${port}`)
  assert.deepEqual(begun, [])
  assert.deepEqual(door.defects, [])
  await door.accept.stop()
})

test("a managed host's other spellings are the managed host, intercepted and never tunnelled", async () => {
  let tunnels = 0
  const door = await openDoor({ onTunnel: () => void tunnels++ })
  for (const authority of ['API.OpenAI.TEST:443', 'api.openai.test.:443', 'ａpi.openai.test:443', 'api。openai.test:443']) {
    const raw = await dial(door.proxyPort)
    const answer = read(raw, (text) => text.includes('\r\n\r\n'))
    raw.write(Buffer.from(connectTo(authority), 'utf8'))
    // The reader takes no byte beyond ASCII; what it takes is the one service.
    assert.match(await answer, /^HTTP\/1\.1 (?:200|400) /, authority)
    raw.destroy()
  }
  const secure = await tunnelled(door.proxyPort, { authority: 'API.OPENAI.TEST.:443', servername: 'API.OPENAI.TEST' })
  const answer = read(secure, wholeAnswer)
  secure.write('GET /v1/x HTTP/1.1\r\nHost: api.openai.test\r\n\r\n')
  assert.match(await answer, /"service":"openai"/)
  secure.destroy()
  assert.equal(tunnels, 0)
  await door.accept.stop()
})

test('no forwarding header changes who or where the caller is, or what is asked for', async () => {
  const seen: string[] = []
  const door = await openDoor({
    onCall: (call) => {
      seen.push(`${call.connection.evidence.peer.address} ${call.target.host} ${call.target.path}`)
      call.cut()
    },
  })
  const forged = [
    'X-Forwarded-For: 203.0.113.7',
    'Forwarded: for=203.0.113.7;host=evil.test;proto=http',
    'X_Forwarded_Host: evil.test',
    'X-Forwarded-Host: evil.test',
    'X-Real-IP: 203.0.113.7',
    'True-Client-IP: 203.0.113.7',
    'X-Original-URL: /admin',
    'X-Host: evil.test',
  ].join('\r\n')
  await say(door.basePort, `GET /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n${forged}\r\n\r\n`)
  assert.deepEqual(seen, ['127.0.0.1 api.openai.test /v1/x'])
  await door.accept.stop()
})
