// Names, options and examples of the commands of every day: who is that, what was refused, let it through, what happens now.
import type { Command } from 'commander'
import type { Context } from './context.ts'

export function operate(program: Command, context: () => Context, ends: (work: Promise<number>) => Promise<void>): void {
  program
    .command('identify')
    .argument('[pid]', 'a process of this machine')
    .option('--here', 'what is started from this shell, outside any run')
    .option('--token <file>', 'a signed token; it is verified and bound to nobody')
    .description('what can be proven of a process or a token, and the rule that would match it')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary identify 4711\n  ostiary identify --here\n  ostiary identify --token /var/run/secrets/token\n\nExit code 1 when no workload matches.',
    )
    .action(async (pid, options) => ends((await import('./identify.ts')).identify(context(), pid, options)))
  program
    .command('refused')
    .option('--since <time>', 'how far back: 30m, 1h, 7d', '1h')
    .description('what was refused, grouped, each with what would allow it')
    .addHelpText('after', '\nExamples:\n  ostiary refused\n  ostiary refused --since 7d --json')
    .action(async (options) => ends((await import('./refused.ts')).refused(context(), options)))
  program
    .command('watch')
    .description('calls and refusals as they happen')
    .addHelpText('after', '\nExample:\n  ostiary watch')
    .action(async () => ends((await import('./watch.ts')).watch(context())))
  program
    .command('env')
    .requiredOption('--for <what>', 'vscode, cursor, jetbrains, direnv or docker')
    .option('--as <workload>', 'the workload of what is started there')
    .description('settings for what an IDE, a shell or a container starts by itself')
    .addHelpText('after', '\nExamples:\n  ostiary env --for vscode --as coder\n  ostiary env --for direnv >> .envrc')
    .action(async (options) => ends((await import('./env.ts')).env(context(), options)))
  program
    .command('allow')
    .argument('<host>')
    .option('--for <workload>', 'whom; may be left out where there is only one')
    .option('--action <action>', 'what, in the words of its service (default: inference where there is such, else call)')
    .option('--tunnel <reason>', 'pass it unread: for clients that pin their certificate')
    .option('--yes', 'write without asking')
    .description('write the line that lets a workload reach a host: shows it, asks, checks, reloads')
    .addHelpText(
      'after',
      '\nExamples:\n  ostiary allow docs.acme.example --for coder\n  ostiary allow api.openai.com --for coder --action inference\n\nA host that is new becomes a service without a credential, for GET and HEAD. Refused inside a run.',
    )
    .action(async (host, options) => ends((await import('./allow.ts')).allow(context(), host, options)))
}
