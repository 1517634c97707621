// Start and rest: from the command to the first listener, and the memory that nobody using it costs, in the packed form.
import { spawnSync } from 'node:child_process'
import { cpSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { familyOf, type Ground, ready, root, rssOf, start } from '../ground.ts'
import { type Measure, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const idle: Measure = {
  name: 'idle',
  what: 'start to ready, and memory at rest; packed form, compile cache filled',
  run: async (stand) => {
    const one = await us(stand.ground, { bin: packed(stand.ground) })
    const seconds: number[] = []
    const megabytes: number[] = []
    // The first start fills the cache and does not count.
    for (let round = 0; round <= stand.rounds; round++) {
      stand.say(`start ${round}/${stand.rounds}`)
      const since = performance.now()
      const running = start(one.words)
      try {
        await ready(one.port, running)
        const took = (performance.now() - since) / 1000
        await new Promise((resolve) => setTimeout(resolve, 1_500))
        if (round > 0) seconds.push(took)
        if (round > 0) megabytes.push(rssOf(familyOf(running.pid)) / 1024 / 1024)
      } finally {
        await running.stop()
      }
    }
    return { rows: [valueRow('seconds from start to ready', 0.8, seconds), valueRow('MB of memory at rest', 150, megabytes)] }
  },
}

/** What a package holds, beside the packages of this clone. */
function packed(ground: Ground): string {
  const dir = ground.folder('packed')
  const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
  const words = [compiler, '-p', 'tsconfig.build.json', '--outDir', join(dir, 'dist')]
  const built = spawnSync(process.execPath, words, { cwd: root, encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`the packed form does not compile: ${built.stdout}`)
  for (const name of ['bin', 'package.json']) cpSync(join(root, name), join(dir, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'))
  return join(dir, 'bin', 'ostiary.mjs')
}
