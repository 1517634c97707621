// TLS contexts for intercepted hosts: a leaf for exactly the host, at most a day old, made when first asked for.
import { constants } from 'node:crypto'
import tls from 'node:tls'
import { LRUCache } from 'lru-cache'
import { type Authority as Ca, issueLeaf } from '../crypto/x509.ts'
import type { Clock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'

export interface Leaves {
  contextFor(host: string): tls.SecureContext
}

export function createLeaves(ca: Ca, clock: Clock): Leaves {
  const contexts = new LRUCache<string, { readonly context: tls.SecureContext; readonly madeAt: number; readonly until: number }>({
    max: limits.leafCacheMax,
  })
  return {
    contextFor(host) {
      const now = clock.now()
      const kept = contexts.get(host)
      // A clock that was set back meets leaves that are not yet valid.
      if (kept !== undefined && kept.until > now && kept.madeAt <= now + limits.clockSkewMs) return kept.context
      const { certPem, keyPem } = issueLeaf(ca, [host], now, limits.leafValidMs)
      // No tickets: every handshake is a full one, so that its SNI is always looked at.
      const context = tls.createSecureContext({
        cert: certPem,
        key: keyPem,
        minVersion: 'TLSv1.2',
        secureOptions: constants.SSL_OP_NO_TICKET,
      })
      // Made anew at half its life, so that a connection of any length never meets an expired one at its start.
      contexts.set(host, { context, madeAt: now, until: now + limits.leafValidMs / 2 })
      return context
    },
  }
}
