// For tests: a DNS server on loopback that says what a test wants, over UDP: a real resolver asks it, so nothing of ours is bypassed.
import { createSocket } from 'node:dgram'
import type { TestContext } from 'node:test'

export type DnsRecord = readonly ['A' | 'AAAA', string, string] | readonly ['CNAME', string, string]

/** `null`: SERVFAIL; `'silence'`: no answer at all. `times` counts the questions of this name and type. */
export type Says = (name: string, type: 'A' | 'AAAA', times: number) => readonly DnsRecord[] | null | 'silence'

const types = { A: 1, CNAME: 5, AAAA: 28 } as const

function nameBytes(name: string): Buffer {
  return Buffer.concat([...name.split('.').map((one) => Buffer.concat([Buffer.from([one.length]), Buffer.from(one)])), Buffer.from([0])])
}

function address(type: DnsRecord[0], text: string): Buffer {
  if (type === 'CNAME') return nameBytes(text)
  if (type === 'A') return Buffer.from(text.split('.').map(Number))
  const [left = '', right = ''] = text.split('::')
  const words = (half: string): number[] => (half === '' ? [] : half.split(':').map((one) => Number.parseInt(one, 16)))
  const middle = text.includes('::') ? new Array(8 - words(left).length - words(right).length).fill(0) : []
  const out = Buffer.alloc(16)
  for (const [at, word] of [...words(left), ...middle, ...words(right)].entries()) out.writeUInt16BE(word, at * 2)
  return out
}

/** Returns `ip:port`. Every record has a time to live of 0: rebinding is what it is for. */
export async function fakeDns(context: TestContext, says: Says): Promise<string> {
  const socket = createSocket('udp4')
  const asked = new Map<string, number>()
  socket.on('message', (query, from) => {
    const labels: string[] = []
    let at = 12
    for (let size = query[at] as number; size > 0; size = query[at] as number) {
      labels.push(query.toString('latin1', at + 1, at + 1 + size))
      at += 1 + size
    }
    const name = labels.join('.').toLowerCase()
    const type = query.readUInt16BE(at + 1) === types.A ? 'A' : 'AAAA'
    const times = (asked.get(`${type} ${name}`) ?? 0) + 1
    asked.set(`${type} ${name}`, times)
    const records = says(name, type, times)
    if (records === 'silence') return
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    head.writeUInt16BE(records === null ? 0x8182 : 0x8180, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records?.length ?? 0, 6)
    const answers = (records ?? []).map(([kind, owner, value]) => {
      const fixed = Buffer.alloc(10)
      const bytes = address(kind, value)
      fixed.writeUInt16BE(types[kind], 0)
      fixed.writeUInt16BE(1, 2)
      fixed.writeUInt16BE(bytes.length, 8)
      return Buffer.concat([nameBytes(owner), fixed, bytes])
    })
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...answers]), from.port, from.address)
  })
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done))
  context.after(() => socket.close())
  return `127.0.0.1:${socket.address().port}`
}
