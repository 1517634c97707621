// The whole program of the reader's process: `node reader-main.ts USER`, with its socket passed by systemd. USER, a name or a
// uid, is who alone is answered.
import { readFileSync } from 'node:fs'
import { passedSockets } from '../../net/activation.ts'
import { kernelIsAsked } from '../../net/kernel.ts'
import { createFactsServer } from './reader.ts'

function uidOf(user: string): number | null {
  if (/^\d{1,10}$/.test(user)) return Number(user)
  const rows = readFileSync('/etc/passwd', 'utf8').split('\n')
  const uid = rows.map((row) => row.split(':')).find(([name]) => name === user)?.[2]
  return uid === undefined || !/^\d+$/.test(uid) ? null : Number(uid)
}

const say = (line: string): void => void process.stderr.write(`ostiary-facts: ${line}\n`)

// What is wrong is thrown: nothing is to be closed, and systemd writes the reason into the journal.
const user = process.argv[2] ?? ''
const onlyUid = uidOf(user)
if (onlyUid === null) throw new Error(`there is no user ${JSON.stringify(user)} to answer`)
if (!kernelIsAsked()) throw new Error('the kernel cannot be asked who calls (node:ffi is absent): nobody is answered')
const fd = passedSockets(process.env, ['facts']).get('facts')
if (fd === undefined) throw new Error('no socket was passed: ostiary-facts.socket starts this')
createFactsServer({ onlyUid, say }).listen({ fd }, () => say(`answers uid ${onlyUid}`))
