// What is sealed: secrets, issuer keys and the CA's key, over the store. Opened by the server, or offline by a command.
import { createPrivateKey } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import type { Config } from '../config/config.ts'
import { javaTrustStore } from '../crypto/java-store.ts'
import { loadKeyFile } from '../crypto/seal.ts'
import { type Authority, createRootAuthority } from '../crypto/x509.ts'
import { nodePreload } from '../launch/node-preload.ts'
import type { IssuerKeys } from '../mint/issuer.ts'
import type { Clock } from '../model/clock.ts'
import type { Purpose } from '../model/kind.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { AnyCredentialKind } from '../obtain/credential-provider.ts'
import { credentialKinds } from '../obtain/credential-providers.ts'
import { type Lock, lockDirectory } from '../store/lock.ts'
import { writeNssDatabase } from '../store/nss-database.ts'
import { createSealedValues, purposeText, type SealedRow, type SealedValues } from '../store/sealed-values.ts'
import { openDatabase } from '../store/sqlite.ts'
import { isFixed } from './broker-world.ts'
import type { Paths } from './paths.ts'
import { bundleWith } from './trust-roots.ts'

export interface Vault {
  readonly ca: Authority
  readonly issuerKeys: IssuerKeys
  readonly values: SealedValues
  secret(name: string, purpose: Purpose): Promise<Secret>
  close(): void
}

/** Opens (or makes) everything in the data directory; throws an Error that says what to do. */
export async function openVault(paths: Paths, clock: Clock): Promise<Vault> {
  prepareDirectory(paths)
  const lock: Lock = lockDirectory(paths.dataDir)
  try {
    // A key is made together with its store, never beside one that was sealed under another.
    if (existsSync(paths.store) && !existsSync(paths.keyFile))
      throw new Error(`${paths.keyFile} is missing and ${paths.store} cannot be opened without it: restore the key from your backup`)
    const keyEncryptionKey = loadKeyFile(paths.keyFile)
    const database = openDatabase(paths.store)
    const values = createSealedValues(database, keyEncryptionKey)
    keyEncryptionKey.fill(0) // it has unwrapped the data key
    const ca = await loadAuthority(values, clock)
    publish(paths, ca.certPem, clock.now())
    return {
      ca,
      values,
      issuerKeys: issuerKeys(values, clock),
      async secret(name, purpose) {
        const found = await values.get('secret', name, purposeText(purpose))
        if (found === null) throw new Refusal('obtain.secret_missing', `ostiary secret set ${name} --for ${purpose.service}`)
        if (found === 'purpose')
          throw new Refusal(
            'obtain.purpose',
            `${name} was not sealed for ${purpose.service} at ${purpose.hosts.join(', ')}, ${purpose.slot}: ostiary secret set ${name} --for ${purpose.service}`,
          )
        return found
      },
      close() {
        values.close()
        database.close()
        lock.release()
      },
    }
  } catch (error) {
    lock.release()
    throw error
  }
}

function prepareDirectory({ dataDir }: Paths): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    const { uid, mode } = statSync(dataDir)
    if (process.getuid !== undefined && uid !== process.getuid())
      throw new Error(`${dataDir} belongs to another user: start Ostiary as that user, or name another directory with --data`)
    if ((mode & 0o077) !== 0) chmodSync(dataDir, 0o700)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new Error(`${dataDir} cannot be used (${code}): name another directory with --data`)
  }
}

/** The public folder: CA and bundle for everybody, rewritten at each start. */
function publish(paths: Paths, caPem: string, now: number): void {
  mkdirSync(paths.publicDir, { recursive: true, mode: 0o755 })
  mkdirSync(paths.doorDir, { recursive: true, mode: 0o755 })
  writeFileSync(paths.caFile, caPem, { mode: 0o644 })
  const bundle = bundleWith(caPem)
  writeFileSync(paths.bundleFile, bundle, { mode: 0o644 })
  writeFileSync(paths.nodePreloadFile, nodePreload(), { mode: 0o644 })
  writeFileSync(paths.javaStoreFile, javaTrustStore(bundle, now), { mode: 0o644 })
  writeNssDatabase(paths.nssFile, caPem)
  // Whatever the umask is: everybody may read these, and nobody but we may write them.
  for (const folder of [paths.publicDir, paths.doorDir]) chmodSync(folder, 0o755)
  for (const file of [paths.caFile, paths.bundleFile, paths.nssFile, paths.javaStoreFile, paths.nodePreloadFile]) chmodSync(file, 0o644)
}

const caPurpose = 'interception'

async function loadAuthority(values: SealedValues, clock: Clock): Promise<Authority> {
  const kept = await values.get('ca', 'key', caPurpose)
  if (kept instanceof Secret) {
    const { key, certPem, name } = JSON.parse(kept.reveal().toString('utf8'))
    kept.wipe()
    return { key: createPrivateKey(key), certPem, name }
  }
  const made = createRootAuthority({
    commonName: `Ostiary ${new Date(clock.now()).toISOString().slice(0, 10)}`,
    now: clock.now(),
    years: 5,
  })
  const text = JSON.stringify({ key: made.key.export({ type: 'pkcs8', format: 'pem' }), certPem: made.certPem, name: made.name })
  await values.put('ca', 'key', caPurpose, new Secret(text), clock.now())
  return made
}

function issuerKeys(values: SealedValues, clock: Clock): IssuerKeys {
  const kind = (which: 'present' | 'next'): 'issuer-key' | 'issuer-key-next' => (which === 'present' ? 'issuer-key' : 'issuer-key-next')
  return {
    async get(credential, which) {
      const found = await values.get(kind(which), credential, credential)
      if (!(found instanceof Secret)) return null
      const pem = found.reveal().toString('utf8')
      found.wipe()
      return pem
    },
    async put(credential, which, pem) {
      await values.put(kind(which), credential, credential, new Secret(pem), clock.now())
    },
  }
}

/** Seals a value for the one purpose that the configuration gives it. Throws an Error in the words of a person's mistake. */
export async function sealFor(
  vault: Pick<Vault, 'values'>,
  config: Config,
  name: string,
  service: string,
  value: Buffer,
  now: number,
  keep = false,
): Promise<SealedRow & { service: string }> {
  const found = config.services.find((one) => one.name === service)
  if (found === undefined)
    throw new Error(
      `the configuration has no service ${service}; one of: ${config.services.map((one) => one.name).join(', ') || 'none yet'}`,
    )
  const rule = config.credentials.find((one) => one.service === service && kindOf(one.kind)?.secretOf(one.config) === name)
  const kind = rule === undefined ? kindOf('static-key') : kindOf(rule.kind)
  const isLogin = found.login !== undefined && value.subarray(0, found.login.keyPrefix.length).toString('latin1') === found.login.keyPrefix
  // Before a credential names it, the value is sealed for the service's own slot; a subscription's token is always a bearer.
  const held = rule?.config ?? { secret: name, ...(isLogin ? { slot: 'bearer' } : {}) }
  const wanted = (kind as AnyCredentialKind).purposeOf(held, found)
  const wrong = kind?.wrongWith?.(held, found, value) ?? null
  if (wrong !== null) throw new Error(`this is no credential for ${service}: ${wrong}`)
  if (isLogin && wanted.slot !== 'bearer')
    throw new Error(`this is a set-up token: write static-key: { secret: ${name}, slot: bearer } under credentials, and seal it again`)
  const purpose = {
    ...wanted,
    dangerouslyFixed: isFixed(config, found),
  }
  const secret = new Secret(value)
  try {
    const text = purposeText(purpose)
    if (keep && (await holdsAnother(vault, name, text, secret)))
      throw new Error(`${name} is sealed already, with another value: ostiary secret rotate ${name}, or remove it first`)
    const row = await vault.values.put('secret', name, text, secret, now)
    if (await holdsAnother(vault, name, text, secret)) throw new Error(`${name} was not sealed as it is: what was read back differs`)
    return { ...row, service }
  } finally {
    secret.wipe()
  }
}

async function holdsAnother(vault: Pick<Vault, 'values'>, name: string, purpose: string, secret: Secret): Promise<boolean> {
  const found = await vault.values.get('secret', name, purpose)
  if (!(found instanceof Secret)) return found === 'purpose'
  const other = !found.equals(secret)
  found.wipe()
  return other
}

export function kindOf(name: string): AnyCredentialKind | undefined {
  return credentialKinds.find((one) => one.name === name)
}
