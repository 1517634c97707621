// git's own settings in a run, as variables and never as a file: the placeholder in the one field that carries a credential to
// the host, no helper, no prompt, HTTPS where a URL says SSH. It must never keep a credential that the user's git would use.
import type { Service } from '../model/service.ts'

export type GitService = Pick<Service, 'basicAt'> & { readonly placeholder: string }

/** Inherited variables that lead to a credential, or that would be read beside ours. */
const dropped = /^(?:GIT_CONFIG_(?:COUNT|PARAMETERS|(?:KEY|VALUE)_\d+)|GIT_ASKPASS|SSH_ASKPASS(?:_REQUIRE)?|VSCODE_GIT_\w+|GCM_\w+)$/

export function leadsGitToCredentials(name: string): boolean {
  return dropped.test(name)
}

export function gitVariables(services: readonly GitService[], proxy: string): Readonly<Record<string, string>> {
  const settings: (readonly [key: string, value: string])[] = [
    // Else git asks a helper for the password of the proxy.
    ['http.proxyAuthMethod', 'basic'],
    // A file of the user's may name another proxy, and would win over the variables.
    ['http.proxy', proxy],
    // gitcredentials(7): an empty helper drops every one that a file names.
    ['credential.helper', ''],
  ]
  for (const { basicAt, placeholder } of services) {
    for (const host of basicAt?.hosts ?? []) {
      const base = `https://${host}/`
      const pair = Buffer.from(`${basicAt?.user}:${placeholder}`).toString('base64')
      // git-config(1): an empty value drops what files name. What stands in the field is the placeholder, with every request, so
      // that git neither waits for a 401 nor asks anybody.
      settings.push([`http.${base}.extraHeader`, ''], [`http.${base}.extraHeader`, `Authorization: Basic ${pair}`])
      for (const ssh of [`git@${host}:`, `ssh://git@${host}/`, `ssh://${host}/`, `git://${host}/`, `http://${host}/`])
        settings.push([`url.${base}.insteadOf`, ssh])
    }
  }
  const variables: Record<string, string> = {
    GIT_CONFIG_COUNT: String(settings.length),
    GIT_TERMINAL_PROMPT: '0',
    // Empty: git asks no program, whatever core.askPass says.
    GIT_ASKPASS: '',
    SSH_ASKPASS: '',
    GCM_INTERACTIVE: 'never',
  }
  for (const [index, [key, value]] of settings.entries()) {
    variables[`GIT_CONFIG_KEY_${index}`] = key
    variables[`GIT_CONFIG_VALUE_${index}`] = value
  }
  return variables
}
