// Loaded before the server by `--import`: moves its wall clock by the milliseconds that stand in a file. Monotonic time stays.
import { readFileSync } from 'node:fs'

const real = Date.now
const file = process.env['OSTIARY_FAULTS_CLOCK'] ?? ''
let moved = 0
let readAt = Number.NEGATIVE_INFINITY
Date.now = () => {
  if (performance.now() - readAt > 50) {
    readAt = performance.now()
    moved = Number(readFileSync(file, 'utf8'))
  }
  return real() + moved
}
