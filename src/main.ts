// argv → cli. The only process.exit of the program.
import { enableCompileCache } from 'node:module'
import { cacheDirOf } from './config/cache.ts'

if (Number(process.versions.node.split('.')[0]) < 26) {
  process.stderr.write(
    `ostiary: Node 26 is needed and ${process.version} is running: start it as bin/ostiary.mjs, which finds the one that came with \`npm ci\`\n`,
  )
  process.exit(2)
}
// `| head` closes the pipe when it has enough: that is no error of ours.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
// By call and not by NODE_COMPILE_CACHE, which an agent's own Node would inherit and write to.
enableCompileCache(cacheDirOf(process.env))
// After the check: an older Node could not even read it.
const { run } = await import('./cli/cli.ts')
const code = await run(process.argv.slice(2))
// A reader that is slower than we are has not got everything yet, and process.exit waits for nobody.
for (const stream of [process.stdout, process.stderr]) await new Promise((done) => stream.write('', done))
process.exit(code)
