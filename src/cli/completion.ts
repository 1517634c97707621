// Shell completion, from the program itself: commands and options, so that it never lags behind.
import type { Command } from 'commander'

export function completion(program: Command, shell: string): string | null {
  const commands = program.commands.map((command) => command.name())
  const inner = program.commands
    .filter((command) => command.commands.length > 0)
    .map((command) => [command.name(), command.commands.map((one) => one.name()).join(' ')] as const)
  const options = program.options.map((option) => option.long ?? '').join(' ')
  if (shell === 'bash') {
    return `_ostiary() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  case "$before" in
${inner.map(([name, words]) => `    ${name}) COMPREPLY=($(compgen -W "${words}" -- "$word")); return ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "${commands.join(' ')} ${options}" -- "$word"))
}
complete -o default -F _ostiary ostiary
`
  }
  if (shell === 'zsh') {
    return `#compdef ostiary
_ostiary() {
  local -a commands; commands=(${commands.join(' ')})
  case "\${words[2]}" in
${inner.map(([name, words]) => `    ${name}) (( CURRENT == 3 )) && compadd ${words} && return ;;`).join('\n')}
  esac
  (( CURRENT == 2 )) && compadd -a commands || _files
}
compdef _ostiary ostiary
`
  }
  if (shell === 'fish') {
    return `${commands.map((name) => `complete -c ostiary -n __fish_use_subcommand -a ${name}`).join('\n')}\n${inner.map(([name, words]) => `complete -c ostiary -n "__fish_seen_subcommand_from ${name}" -a "${words}"`).join('\n')}\n`
  }
  return null
}
