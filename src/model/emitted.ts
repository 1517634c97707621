// Sources run as they are in a clone and as what was emitted of them in a package: a file that is started by name has two names.

/** `file` ends in `.ts` and lies beside the module whose `import.meta.url` is `of`. */
export function emitted(file: string, of: string): URL {
  return new URL(of.endsWith('.ts') ? file : file.replace(/\.ts$/, '.js'), of)
}
