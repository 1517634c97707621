// The entry of a further process of the data plane: `ostiary start` starts it, and nobody else can. It is no command.
import cluster from 'node:cluster'
import { enableCompileCache } from 'node:module'
import type { AskedOfProxy } from './compose/plane-process.ts'
import { cacheDirOf } from './config/cache.ts'
import type { Channel } from './wire/channel.ts'
import type { AskedOfBroker } from './wire/questions.ts'

enableCompileCache(cacheDirOf(process.env))
if (cluster.worker === undefined) {
  process.stderr.write('ostiary: this process is started by `ostiary start`, where the configuration says `processes`\n')
  process.exitCode = 2
} else {
  // A terminal and a service manager signal every process: the broker says when it is over.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const { createChannel } = await import('./wire/channel.ts')
  const { createPlaneProcess } = await import('./compose/plane-process.ts')
  const send = (message: object): void => void process.send?.(message, undefined, undefined, () => {})
  const broker: Channel<AskedOfBroker> = createChannel<AskedOfProxy, AskedOfBroker>(
    send,
    createPlaneProcess(() => broker),
  )
  process.on('message', (message) => broker.take(message))
}
