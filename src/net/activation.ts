// Sockets that systemd opened before it started us (sd_listen_fds(3)): nobody can take a port while the server is away. It
// opens nothing and believes nothing that is not meant for this very process.

/** Descriptor by name (FileDescriptorName= of the socket unit). */
export type Passed = ReadonlyMap<string, number>

const first = 3 // SD_LISTEN_FDS_START
const most = 16

/**
 * Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES and takes them out of `env`, so that no child believes them. Empty where they
 * are not there or for another process. Throws where they contradict themselves or name what is not in `known`: a socket that
 * nobody serves would keep callers waiting for ever.
 */
export function passedSockets(env: Record<string, string | undefined>, known: readonly string[], pid = process.pid): Passed {
  const { LISTEN_PID: forWhom, LISTEN_FDS: count, LISTEN_FDNAMES: named } = env
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) delete env[name]
  if (forWhom !== String(pid) || count === undefined) return new Map()
  if (!/^\d{1,3}$/.test(count) || Number(count) > most) throw new Error(`LISTEN_FDS is ${JSON.stringify(count)}: a number up to ${most}`)
  const names = (named ?? '').split(':').filter((name) => name !== '')
  if (names.length !== Number(count))
    throw new Error(`${count} sockets were passed with ${names.length} names: write FileDescriptorName= into each socket unit`)
  const passed = new Map<string, number>()
  for (const [at, name] of names.entries()) {
    if (!known.includes(name)) throw new Error(`a socket named ${JSON.stringify(name)} was passed: it must be ${known.join(' or ')}`)
    if (passed.has(name)) throw new Error(`two sockets named ${name} were passed: one listens for each door`)
    passed.set(name, first + at)
  }
  return passed
}
