// install and uninstall among the commands: names, options and examples.
import type { Command } from 'commander'
import type { Context } from './context.ts'

export function installation(program: Command, context: () => Context, ends: (work: Promise<number>) => Promise<void>): void {
  const staged = 'install below a folder that becomes the root of a machine'
  program
    .command('install')
    .option('--dry-run', 'print every file and command, and do nothing')
    .option('--root <dir>', staged)
    .description('on a server: a system user, units that confine it, a copy below /opt; again after an update or a change of `listen`')
    .addHelpText('after', '\nExamples:\n  ostiary install --dry-run\n  sudo ostiary install')
    .action(async (options) => ends((await import('./install.ts')).install(context(), options)))
  program
    .command('uninstall')
    .option('--dry-run', 'print every file and command, and do nothing')
    .option('--root <dir>', staged)
    .option('--purge', 'configuration, secrets, audit log and user too: asks')
    .option('--yes', 'the answer to what --purge asks')
    .description('remove what `install` wrote; configuration and data stay')
    .addHelpText('after', '\nExamples:\n  sudo ostiary uninstall\n  sudo ostiary uninstall --purge --yes')
    .action(async (options) => ends((await import('./install.ts')).uninstall(context(), options)))
}
