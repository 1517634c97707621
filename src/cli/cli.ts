// The command line: words to commands. Each command is a file; here stand only names, options and examples.
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { doors } from '../launch/doors.ts'
import { emitted } from '../model/emitted.ts'
import { ConfigMistakes, Refusal, refusals } from '../model/refusal.ts'
import { Declined, NotRunning } from './admin-client.ts'
import { printMistakes } from './check.ts'
import type { Context, GlobalOptions } from './context.ts'
import { whereThingsLie } from './context.ts'
import { installation } from './installation.ts'
import { operate } from './operate.ts'
import { createOutput, printableLines, WrongUse } from './print.ts'

const examples = `
Examples:
  ostiary check                               every mistake of the configuration, with its line
  ostiary start                               in the foreground; Ctrl-C stops
  ostiary secret set openai --for openai      typed, never an argument
  ostiary run -- python agent.py              an agent that holds no secret
  ostiary audit tail --follow                 who called what, and what became of it
  ostiary explain decide.denied               what a refusal means and what to do

Exit codes: 0 done, 1 it is not so (mistakes, refused, not verified), 2 wrong use, 3 not running, 4 run refused.`

/** Resolves with the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  let code = 0
  const program = build((next) => {
    code = next
  })
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    return said(error, beforeDashes(argv).includes('--json'))
  }
}

/** What stands behind `--` are words of the agent's own. */
function beforeDashes(argv: readonly string[]): readonly string[] {
  const at = argv.indexOf('--')
  return at === -1 ? argv : argv.slice(0, at)
}

/** An error in words, on standard error, or as one JSON document on standard output; the exit code. */
function said(error: unknown, json: boolean): number {
  const out = createOutput(json)
  if (error instanceof ConfigMistakes) return printMistakes(out, error)
  const says = sentenceOf(error)
  if (json) {
    const more =
      error instanceof Refusal ? { code: error.code } : error instanceof Declined && error.code !== null ? { code: error.code } : {}
    out.line(JSON.stringify({ ok: false, error: { ...more, says: printableLines(says) } }, null, 2))
  } else out.problem(says)
  if (error instanceof WrongUse) return 2
  return error instanceof NotRunning ? 3 : 1
}

function sentenceOf(error: unknown): string {
  if (error instanceof Refusal) {
    const detail = error.detail === '' ? '' : ` (${error.detail})`
    return `${error.says}${detail}\n${refusals[error.code].mend}\nostiary explain ${error.code}`
  }
  if (!(error instanceof Error)) return String(error)
  const { code, path } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' && path !== undefined) return `there is no ${path}`
  if (code === 'EACCES' && path !== undefined) return `${path} may not be opened by this user`
  return process.env['OSTIARY_DEBUG'] === undefined ? error.message : (error.stack ?? error.message)
}

type Done = (code: number) => void

/** The program with all its names; `done` is told the exit code of the command that ran. */
export function build(done: Done): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const program = new Command('ostiary')
    .description('Gives AI agents an identity instead of API keys.')
    .version(version)
    .addHelpText('after', examples)
    .enablePositionalOptions()
  const found: { -readonly [Key in keyof GlobalOptions]: GlobalOptions[Key] } = {}
  const context = (): Context => ({ ...whereThingsLie(found), out: createOutput(found.json === true) })
  const ends = (work: Promise<number>): Promise<void> => work.then(done)
  life(program, context, ends)
  words(program, context, ends)
  agents(program, context, ends)
  secrets(program, context, ends)
  credentials(program, context, ends)
  log(program, context, ends)
  operate(program, context, ends)
  installation(program, context, ends)
  everywhere(program, found)
  return program
}

/** The global options work before a command and behind it. */
function everywhere(command: Command, found: { config?: string; data?: string; json?: boolean }): void {
  command
    .exitOverride()
    .showHelpAfterError('(add --help to see what there is)')
    .option('--config <file>', 'configuration (default: ~/.config/ostiary/ostiary.yaml)')
    .on('option:config', (file: string) => {
      found.config = file
    })
    .option('--data <dir>', 'data directory (default: ~/.local/share/ostiary)')
    .on('option:data', (dir: string) => {
      found.data = dir
    })
  // `run` has no document to print; what its command prints is its own.
  if (command.name() !== 'run')
    command.option('--json', 'one JSON document instead of text').on('option:json', () => {
      found.json = true
    })
  for (const one of command.commands) everywhere(one, found)
}

type MakeContext = () => Context
type Ends = (work: Promise<number>) => Promise<void>

function life(program: Command, context: MakeContext, ends: Ends): void {
  program
    .command('init')
    .description('find static keys, seal them, try each with one call, then blank it where it stood')
    .option('--yes', 'seal one key of each service that the catalog knows, without asking')
    .option('--dry-run', 'only say what would be done')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary init --dry-run\n  ostiary init\n  ostiary init --json     only lists, and changes nothing\n\nKeys are shown masked. A file is rewritten only after its key was sealed, read back and taken by the vendor.',
    )
    .action(async (options) => ends((await import('./init/init.ts')).init(context(), options)))
  program
    .command('start')
    .description('start the broker and the proxy in the foreground')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary start\n  ostiary start --config ./ostiary.yaml --data ./data\n\nSIGTERM and Ctrl-C finish the calls under way, SIGHUP reloads.',
    )
    .action(async () => ends((await import('./server.ts')).start(context())))
  program
    .command('stop')
    .description('stop: finish calls under way, then end')
    .action(async () => ends((await import('./server.ts')).stop(context())))
  program
    .command('status')
    .description('listeners, paths, runs, policy version, suspensions')
    .option('--wait <seconds>', 'wait until it is ready')
    .addHelpText('after', '\nExamples:\n  ostiary status\n  ostiary status --wait 10 --json')
    .action(async (options) => ends((await import('./server.ts')).status(context(), options)))
  program
    .command('reload')
    .description('bring the changed configuration into force; exit code 1 with reasons when it may not')
    .option('--show', 'only show what would change')
    .addHelpText('after', '\nExamples:\n  ostiary reload --show\n  ostiary reload')
    .action(async (options) => ends((await import('./server.ts')).reload(context(), options)))
  program
    .command('log-level')
    .argument('<level>', 'debug, info, warn or error')
    .description('change the log level at run time')
    .action(async (level) => ends((await import('./server.ts')).logLevel(context(), level)))
}

function words(program: Command, context: MakeContext, ends: Ends): void {
  program
    .command('check')
    .description('read the configuration and its policies offline and name every mistake')
    .option('--schema', 'print the JSON Schema for editors')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary check\n  ostiary check --config ./ostiary.yaml --json\n  ostiary check --schema > ostiary.schema.json\n\nExit code 1 when there are mistakes.',
    )
    .action(async (options) => ends((await import('./check.ts')).check(context(), options)))
  program
    .command('registries')
    .description("the package registries of this machine's own tools (npm, pip, cargo, go), as lines for the configuration")
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary registries\n  ostiary registries --json\n\nIt asks the tools in your home and names no registry itself. Exit code 1 when none is found.',
    )
    .action(async () => ends((await import('./registries.ts')).registries(context())))
  program
    .command('doctor')
    .description('what this machine can do for Ostiary, and what to mend')
    .option('--fix', 'mend what may be mended: modes of files, sockets that are left over')
    .argument('[command...]', 'one that you mean to run: which runtime it is, and how it finds the proxy')
    .addHelpText('after', '\nExamples:\n  ostiary doctor\n  ostiary doctor -- python agent.py')
    .action(async (command: string[], options) => {
      if (command.length > 0) return ends((async () => (await import('./doctor-command.ts')).doctorCommand(context(), command))())
      return ends((await import('./doctor.ts')).doctor(context(), options))
    })
  program
    .command('explain')
    .argument('<words...>', 'a refusal code, or "METHOD URL"')
    .option('--as <workload>', 'the workload that would ask')
    .option('--body <json>', 'the body it would send')
    .description('what a refusal means, or what would become of a request and why')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary explain inject.no_placeholder\n  ostiary explain "POST https://api.openai.com/v1/responses" --as coder',
    )
    .action(async (words, options) => ends((await import('./explain.ts')).explain(context(), words, options)))
  program
    .command('completion')
    .argument('<shell>', 'bash, zsh or fish')
    .description('shell completion: source <(ostiary completion bash)')
    .addHelpText(
      'after',
      '\nExamples:\n  source <(ostiary completion bash)\n  ostiary completion zsh > ~/.zfunc/_ostiary\n  ostiary completion fish | source',
    )
    .action(async (shell) => {
      const text = (await import('./completion.ts')).completion(program, shell)
      if (text === null) throw new WrongUse(`no completion for ${shell}: bash, zsh or fish`)
      process.stdout.write(text)
    })
}

/** Written beside the examples that it plays; a package without them has no story to tell. */
async function story(options: { readonly json: boolean; readonly keep?: boolean }): Promise<number> {
  try {
    const { storyCommand } = await import(emitted('./story.ts', import.meta.url).href)
    return await storyCommand(options)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new Error('the story is told by `npm ci && npm start` in a clone of the repository')
  }
}

const each = (value: string, before: readonly string[]): readonly string[] => [...before, value]

function agents(program: Command, context: MakeContext, ends: Ends): void {
  program
    .command('run')
    .argument('[command...]', 'the command and its words, behind --')
    .option('--as <workload>', 'the workload to run it as, where you may start several')
    .option('--label <name=value>', 'stands in every record of the run; once for each', each, [])
    .option('--evidence <file>', 'a signed token to present, read anew for each connection and hidden from the command')
    .option('--isolate', 'give it a network whose only way out is the proxy; refused where namespaces cannot be had')
    .option('--publish <port>', 'with --isolate: a port that the agent listens on, on this machine too (repeatable)', each, [])
    .option('--reach <host:port>', 'with --isolate: one TCP destination outside, past the proxy (repeatable)', each, [])
    .option('--no-namespace', 'do not make a namespace (every record then says shared-user)')
    .option('--expose <name>', 'let it see one thing that is otherwise hidden; once for each', (name, before: string[] = []) => [
      ...before,
      name,
    ])
    .description('start an agent in its own namespace, with placeholders instead of keys')
    .addHelpText(
      'after',
      `\nNames to expose, or the absolute path of a socket:\n${doors.map(({ name, says }) => `  ${name.padEnd(16)} ${says}`).join('\n')}\n\nExamples:\n  ostiary run -- python agent.py\n  ostiary run --as coder -- claude\n  ostiary run --expose ssh-agent -- git fetch\n  ostiary run --isolate --publish 3000 --reach localhost:5432 -- npm start\n\nInside a run, \`ostiary run -- SERVER\` starts no other: it gives an MCP server the variables that its agent keeps from it.`,
    )
    .passThroughOptions()
    .action(async (words, options) => ends((await import('./run.ts')).runCommand(words, { dataDir: context().dataDir, ...options })))
  program
    .command('story')
    .option('--keep', 'leave everything running, with three commands to try')
    .description('the main job and the attacks on it, against local stand-ins for the vendors')
    .action(async (options) => ends(story({ ...options, json: context().out.json })))
  program
    .command('runs')
    .description('the runs there are')
    .action(async () => ends((await import('./runs.ts')).listRuns(context())))
  program
    .command('resume')
    .argument('<run>')
    .description('end the suspension of a run')
    .action(async (id) => ends((await import('./runs.ts')).resume(context(), id)))
  program
    .command('revoke')
    .argument('<what>', 'run, workload or credential')
    .argument('<name>')
    .description('cut what is open within a second and refuse what comes')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary revoke workload coder\n  ostiary revoke run run-0123456789ab\n  ostiary revoke credential openai-research',
    )
    .option('--undo', 'take a revocation of a workload or credential back')
    .action(async (what, name, options) => ends((await import('./runs.ts')).revoke(context(), what, name, options)))
}

function secrets(program: Command, context: MakeContext, ends: Ends): void {
  const secret = program
    .command('secret')
    .description('sealed values: they go in, never out')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary secret set gemini --for gemini\n  pass show gemini | ostiary secret set gemini --for gemini --stdin\n  ostiary secret rotate gemini --from-file new.key\n  ostiary secret list',
    )
  for (const rotate of [false, true]) {
    const purpose = 'the service it is for; it opens for nothing else'
    const command = secret.command(rotate ? 'rotate' : 'set').argument('<name>')
    if (rotate) command.option('--for <service>', `${purpose} (default: as it was)`)
    else command.requiredOption('--for <service>', purpose)
    command
      .option('--from-file <file>', 'read it from a file')
      .option('--from-env <variable>', 'read it from an environment variable')
      .option('--stdin', 'read it from standard input')
      .description(rotate ? 'replace a value; leases of the old one end' : 'seal a value, typed at a prompt unless told otherwise')
      .action(async (name, options) => ends((await import('./secrets.ts')).setSecret(context(), name, options, rotate)))
  }
  secret
    .command('list')
    .description('names, purposes and fingerprints')
    .action(async () => ends((await import('./secrets.ts')).listSecrets(context())))
  secret
    .command('remove')
    .argument('<name>')
    .description('forget a value')
    .action(async (name) => ends((await import('./secrets.ts')).removeSecret(context(), name)))
}

function credentials(program: Command, context: MakeContext, ends: Ends): void {
  const credential = program
    .command('credential')
    .description('how services are reached')
    .addHelpText('after', '\nExamples:\n  ostiary credential list\n  ostiary credential setup openai-research')
  credential
    .command('list')
    .description('credentials and whether they are ready')
    .action(async () => ends((await import('./credentials.ts')).listCredentials(context())))
  credential
    .command('setup')
    .argument('<name>')
    .option('--verify-only', 'skip the walk through')
    .description("walk through the vendor's side and verify with a real exchange")
    .action(async (name, options) => ends((await import('./credentials.ts')).setupCredential(context(), name, options)))
  const issuer = program.command('issuer').description('Ostiary as an OIDC issuer')
  issuer
    .command('jwks')
    .argument('<credential>')
    .description('present and next public key, for upload at the vendor')
    .action(async (name) => ends((await import('./credentials.ts')).issuerJwks(context(), name)))
  issuer
    .command('rotate')
    .argument('<credential>')
    .description('sign with the next key')
    .action(async (name) => ends((await import('./credentials.ts')).issuerRotate(context(), name)))
  program
    .command('ca')
    .description('the certificate authority of this installation')
    .command('print')
    .description('the public certificate, PEM')
    .action(async () => ends((await import('./credentials.ts')).printCa(context())))
}

function log(program: Command, context: MakeContext, ends: Ends): void {
  const audit = program
    .command('audit')
    .description('the transparency log')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary audit tail --follow\n  ostiary audit export > records.jsonl\n  ostiary audit verify --since checkpoint-of-yesterday',
    )
  audit
    .command('tail')
    .option('-f, --follow', 'go on with what comes')
    .option('-n, --count <n>', 'how many to begin with', '20')
    .description('the last entries')
    .action(async (options) => ends((await import('./audit.ts')).auditTail(context(), options)))
  audit
    .command('show')
    .argument('<call>')
    .description('everything about one call')
    .action(async (call) => ends((await import('./audit.ts')).auditShow(context(), call)))
  audit
    .command('export')
    .description('a JSON line a record')
    .action(async () => ends((await import('./audit.ts')).auditExport(context())))
  audit
    .command('verify')
    .option('--since <file>', 'an earlier checkpoint, kept elsewhere: shows rollback, truncation and fork')
    .option('--key <file>', 'the public key (default: audit.pub of the data directory)')
    .description('verify the log offline; exit code 1 when anything was found')
    .action(async (options) => ends((await import('./audit.ts')).auditVerify(context(), options)))
}
