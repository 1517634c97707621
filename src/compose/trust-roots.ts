// Whom the proxy trusts upstream, and the complete bundle for clients whose variables replace their roots.
import { readFileSync } from 'node:fs'
import tls from 'node:tls'

const systemBundles = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem']

/** PEM certificates: Node's, the system's where there are any, and the operator's extra file. */
export function upstreamRoots(extraCa: string | null): readonly string[] {
  const roots = new Set(tls.rootCertificates)
  for (const pem of splitPem(systemBundle())) roots.add(pem)
  if (extraCa !== null) for (const pem of splitPem(readFileSync(extraCa, 'utf8'))) roots.add(pem)
  return [...roots]
}

/**
 * What no operator added, be it to the system's store or to egress.extraCa: a certificate that ends elsewhere may be one that an
 * inspecting proxy made. A list of its own, so that it is the same array each time.
 */
export const publicRoots: readonly string[] = tls.rootCertificates

/** System roots and our own CA, as one file's text. */
export function bundleWith(caPem: string): string {
  const system = systemBundle()
  return `${system === '' ? `${tls.rootCertificates.join('\n')}\n` : system}\n${caPem}`
}

function systemBundle(): string {
  for (const path of systemBundles) {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      // the next distribution's place
    }
  }
  return ''
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
}
