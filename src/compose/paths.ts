// Where everything lies: the data directory for Ostiary alone, and a public folder beside it for runs.
import { join } from 'node:path'

export interface Paths {
  readonly dataDir: string
  readonly keyFile: string
  readonly store: string
  readonly auditDir: string
  readonly auditKeyFile: string
  readonly adminSocket: string
  /** Readable by everybody: the public CA and the bundle of all roots. */
  readonly publicDir: string
  readonly caFile: string
  readonly bundleFile: string
  /** The same roots for the JVM, which reads no PEM. */
  readonly javaStoreFile: string
  /** What each Node of a run loads first. */
  readonly nodePreloadFile: string
  /** The CA once more, as browsers read it. */
  readonly nssFile: string
  /** Holds the sockets for launchers and relays and nothing else; hidden from runs. */
  readonly doorDir: string
  readonly runSocket: string
  /** The door of isolated runs: the proxy, by a Unix socket. */
  readonly insideSocket: string
}

export function pathsOf(dataDir: string): Paths {
  const publicDir = `${dataDir}.run`
  const doorDir = join(publicDir, 'door')
  return {
    dataDir,
    keyFile: join(dataDir, 'key'),
    store: join(dataDir, 'ostiary.db'),
    auditDir: join(dataDir, 'audit'),
    auditKeyFile: join(dataDir, 'audit-key'),
    adminSocket: join(dataDir, 'admin.sock'),
    publicDir,
    caFile: join(publicDir, 'ca.pem'),
    bundleFile: join(publicDir, 'bundle.pem'),
    javaStoreFile: join(publicDir, 'bundle.jks'),
    nodePreloadFile: join(publicDir, 'node-preload.cjs'),
    nssFile: join(publicDir, 'cert9.db'),
    doorDir,
    runSocket: join(doorDir, 'run.sock'),
    insideSocket: join(doorDir, 'inside.sock'),
  }
}
