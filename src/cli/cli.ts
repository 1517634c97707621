// The command line: words to commands. Each command is a file; here stand only names, options and examples.
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { Declined, NotRunning } from './admin-client.ts'
import type { Context, GlobalOptions } from './context.ts'
import { whereThingsLie } from './context.ts'
import { createOutput } from './print.ts'

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
    if (error instanceof CommanderError) return error.exitCode === 0 || error.code === 'commander.help' ? 0 : 2
    const json = argv.includes('--json')
    const { message } = error as Error
    if (json)
      process.stdout.write(
        `${JSON.stringify({ ok: false, error: { says: message, ...(error instanceof Declined ? { body: error.body } : {}) } })}\n`,
      )
    else process.stderr.write(`ostiary: ${message}\n`)
    return error instanceof NotRunning ? 3 : 1
  }
}

type Done = (code: number) => void

export function build(done: Done): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const program = new Command('ostiary')
    .description('Gives AI agents an identity instead of API keys.')
    .version(version)
    .option('--config <file>', 'configuration (default: ~/.config/ostiary/ostiary.yaml)')
    .option('--data <dir>', 'data directory (default: ~/.local/share/ostiary)')
    .option('--json', 'one JSON document instead of text')
    .addHelpText('after', examples)
    .exitOverride()
    .showHelpAfterError('(ostiary --help shows what there is)')
    .enablePositionalOptions()
  const context = (): Context => {
    const options = program.opts<GlobalOptions>()
    return { ...whereThingsLie(options), out: createOutput(options.json === true) }
  }
  const ends = (work: Promise<number>): Promise<void> => work.then(done)
  life(program, context, ends)
  agents(program, context, ends)
  secrets(program, context, ends)
  log(program, context, ends)
  // `--json` behind the command works as well as before it.
  for (const command of [...program.commands, ...program.commands.flatMap((one) => one.commands)]) {
    command.exitOverride()
    if (command.name() !== 'run')
      command.option('--json', 'one JSON document instead of text').on('option:json', () => program.setOptionValue('json', true))
  }
  return program
}

type MakeContext = () => Context
type Ends = (work: Promise<number>) => Promise<void>

function life(program: Command, context: MakeContext, ends: Ends): void {
  program
    .command('start')
    .description('start the broker and the proxy in the foreground')
    .action(async () => ends((await import('./server.ts')).start(context())))
  program
    .command('stop')
    .description('stop: finish calls under way, then end')
    .action(async () => ends((await import('./server.ts')).stop(context())))
  program
    .command('status')
    .description('listeners, paths, runs, policy version, suspensions')
    .option('--wait <seconds>', 'wait until it is ready')
    .action(async (options) => ends((await import('./server.ts')).status(context(), options)))
  program
    .command('reload')
    .description('bring the changed configuration into force; exit code 1 with reasons when it may not')
    .option('--show', 'only show what would change')
    .action(async (options) => ends((await import('./server.ts')).reload(context(), options)))
  program
    .command('log-level')
    .argument('<level>', 'debug, info, warn or error')
    .description('change the log level at run time')
    .action(async (level) => ends((await import('./server.ts')).logLevel(context(), level)))
  program
    .command('check')
    .description('read the configuration and its policies offline and name every mistake')
    .option('--schema', 'print the JSON Schema for editors')
    .action(async (options) => ends((await import('./check.ts')).check(context(), options)))
  program
    .command('doctor')
    .description('what this machine can do for Ostiary, and what to mend')
    .action(async () => ends((await import('./doctor.ts')).doctor(context())))
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
    .action(async (shell) => {
      const text = (await import('./completion.ts')).completion(program, shell)
      if (text === null) throw new Error(`no completion for ${shell}: bash, zsh or fish`)
      process.stdout.write(text)
    })
}

function agents(program: Command, context: MakeContext, ends: Ends): void {
  program
    .command('run')
    .argument('[command...]', 'the command and its words, behind --')
    .option('--as <workload>', 'the workload to run it as, where you may start several')
    .option('--evidence <file>', 'a signed token to present, read anew for each connection and hidden from the command')
    .option('--no-namespace', 'do not make a namespace (every record then says shared-user)')
    .description('start an agent in its own namespace, with placeholders instead of keys')
    .addHelpText('after', '\nExamples:\n  ostiary run -- python agent.py\n  ostiary run --as coder -- claude')
    .passThroughOptions()
    .action(async (words, options) => ends((await import('./run.ts')).runCommand(words, { dataDir: context().dataDir, ...options })))
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
    .action(async (what, name) => ends((await import('./runs.ts')).revoke(context(), what, name)))
}

function secrets(program: Command, context: MakeContext, ends: Ends): void {
  const secret = program.command('secret').description('sealed values: they go in, never out')
  for (const [name, rotate] of [
    ['set', false],
    ['rotate', true],
  ] as const) {
    secret
      .command(name)
      .argument('<name>')
      .requiredOption('--for <service>', 'the service it is for; it opens for nothing else')
      .option('--from-file <file>')
      .option('--from-env <variable>')
      .option('--stdin', 'read it from standard input')
      .description(rotate ? 'replace a value; leases of the old one end' : 'seal a value, typed at a prompt unless told otherwise')
      .action(async (of, options) => ends((await import('./secrets.ts')).setSecret(context(), of, options, rotate)))
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
  const credential = program.command('credential').description('how services are reached')
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
  const audit = program.command('audit').description('the transparency log')
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
