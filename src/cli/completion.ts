// Shell completion, made from the program itself, so that it never lags behind.
import type { Command } from 'commander'

interface Words {
  readonly path: string
  readonly says: string
  readonly words: readonly string[]
}

export const shells = ['bash', 'zsh', 'fish'] as const

/** Text to be sourced by the shell; null for a shell that is not known. */
export function completion(program: Command, shell: string): string | null {
  const places = wordsOf(program, '')
  if (shell === 'bash') return bash(places)
  if (shell === 'zsh') return zsh(places)
  if (shell === 'fish') return fish(program)
  return null
}

/** What may follow each command: its own commands and long options. */
function wordsOf(command: Command, path: string): readonly Words[] {
  const options = command.options.map((option) => option.long ?? option.short ?? '')
  const names = command.commands.map((one) => one.name())
  return [
    { path, says: command.description(), words: [...names, ...options, '--help'] },
    ...command.commands.flatMap((one) => wordsOf(one, path === '' ? one.name() : `${path} ${one.name()}`)),
  ]
}

function cases(places: readonly Words[], line: (words: string) => string): string {
  return places.map(({ path, words }) => `    '${path}') ${line(words.join(' '))} ;;`).join('\n')
}

function bash(places: readonly Words[]): string {
  return `# ostiary: source <(ostiary completion bash)
_ostiary() {
  local word="\${COMP_WORDS[COMP_CWORD]}" path='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "\${COMP_WORDS[index]}" in
      --) COMPREPLY=(); return ;;
      --config|--data) ((index++)) ;;
      -*) ;;
      *) case "$path" in *' '*) ;; *) path="\${path:+$path }\${COMP_WORDS[index]}" ;; esac ;;
    esac
  done
  local words=''
  case "$path" in
${cases(places, (words) => `words='${words}'`)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _ostiary ostiary
`
}

function zsh(places: readonly Words[]): string {
  return `#compdef ostiary
# source <(ostiary completion zsh)
_ostiary() {
  local path='' index
  for ((index = 2; index < CURRENT; index++)); do
    case "\${words[index]}" in
      --) _default; return ;;
      --config|--data) ((index++)) ;;
      -*) ;;
      *) [[ "$path" == *' '* ]] || path="\${path:+$path }\${words[index]}" ;;
    esac
  done
  case "$path" in
${cases(places, (words) => `compadd -- ${words}`)}
    *) _default ;;
  esac
}
compdef _ostiary ostiary
`
}

const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

function fish(program: Command): string {
  const lines = ['# ostiary: ostiary completion fish | source']
  for (const command of program.commands) {
    lines.push(`complete -c ostiary -n __fish_use_subcommand -f -a ${command.name()} -d ${quoted(command.description())}`)
    const within = `'__fish_seen_subcommand_from ${command.name()}'`
    for (const one of command.commands) lines.push(`complete -c ostiary -n ${within} -f -a ${one.name()} -d ${quoted(one.description())}`)
    for (const option of [...command.options, ...command.commands.flatMap((one) => one.options)])
      if (option.long !== undefined)
        lines.push(`complete -c ostiary -n ${within} -l ${option.long.slice(2)} -d ${quoted(option.description)}`)
  }
  return `${[...new Set(lines)].join('\n')}\n`
}
