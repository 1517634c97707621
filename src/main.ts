// argv → cli. The only process.exit of the program.
import { run } from './cli/cli.ts'

if (Number(process.versions.node.split('.')[0]) < 26) {
  process.stderr.write(
    `ostiary: Node 26 is needed and ${process.version} is running: start it as bin/ostiary.mjs, which finds the one that came with \`npm ci\`\n`,
  )
  process.exit(2)
}
process.exit(await run(process.argv.slice(2)))
