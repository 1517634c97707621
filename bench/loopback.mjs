// Preloaded into peers of Node: the API's name leads to the upstream of the bench. It must never be part of the product.
import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'

const host = process.env.BENCH_HOST
const address = process.env.BENCH_ADDRESS
const real = dns.lookup
dns.lookup = (name, options, done) => {
  if (name !== host) return real(name, options, done)
  const answer = typeof options === 'function' ? options : done
  const all = typeof options === 'object' && options !== null && options.all === true
  process.nextTick(() => (all ? answer(null, [{ address, family: 4 }]) : answer(null, address, 4)))
}
syncBuiltinESMExports()
