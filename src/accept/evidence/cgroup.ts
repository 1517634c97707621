// Reads the text of /proc/PID/cgroup (v1, v2, hybrid) for a system unit and a container. Pure. It must never believe a name
// that a user can choose: below user.slice, and below a service that was handed on (delegated), names are the user's own.

export interface Cgroup {
  /** The line of the unified or systemd hierarchy. */
  readonly line: string
  readonly systemUnit: string
  readonly containerId: string
}

const nothing: Cgroup = { line: '', systemUnit: '', containerId: '' }

export function parseCgroup(text: string): Cgroup {
  const lines = text
    .split('\n')
    .map((line) => /^(\d+):([^:]*):(\/.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([line, number, controllers, path]) => ({
      line,
      unified: number === '0' && controllers === '',
      controllers,
      path: path as string,
    }))
  if (lines.length === 0) return nothing
  const named = lines.filter((one) => one.unified || one.controllers === 'name=systemd')
  const telling = named.filter((one) => one.path !== '/')
  const line = (telling[0] ?? named[0])?.line ?? ''
  // Hierarchies that contradict each other prove nothing (SPIRE's lesson): all that say anything must say the same.
  const units = new Set(telling.map((one) => unitOf(one.path)))
  const containers = new Set(lines.map((one) => containerOf(one.path)).filter((id) => id !== ''))
  const containerId = containers.size === 1 ? ([...containers][0] as string) : ''
  const systemUnit = units.size === 1 && containers.size === 0 ? ([...units][0] as string) : ''
  return { line, systemUnit, containerId }
}

/** Only the system hierarchy, and there the outermost service: what lies below it may be delegated. */
function unitOf(path: string): string {
  if (path.split('/').includes('..')) return '' // outside of our cgroup namespace
  return /^\/system\.slice\/(?:[^/]+\.slice\/)*([^/]+\.service)(?:\/|$)/.exec(path)?.[1] ?? ''
}

const id = '([0-9a-f]{64})'
const runtime = '(?:docker|libpod|cri-containerd|crio|containerd|nerdctl)'
const containerPaths = [
  // A scope directly below system slices was made by the system manager.
  new RegExp(`^(?:/[^/]+\\.slice)+/${runtime}-${id}\\.scope(?:/|$)`),
  new RegExp(`^/(?:docker|actions_job|libpod_parent|k8s\\.io|moby|default)/(?:libpod-)?${id}(?:/|$)`),
  new RegExp(`^/kubepods(?:/[^/]+){1,2}/${id}(?:/|$)`),
  new RegExp(`^/ecs(?:/[0-9a-f-]+){1,2}/${id}(?:/|$)`),
]

function containerOf(path: string): string {
  if (path.startsWith('/user.slice') || path.split('/').includes('..')) return ''
  for (const pattern of containerPaths) {
    const found = pattern.exec(path)?.[1]
    if (found !== undefined) return found
  }
  return ''
}
