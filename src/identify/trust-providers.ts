// Every kind of trust provider. A line a kind; delete its folder and its line, and all else compiles.
import { oidcKind } from './oidc/oidc.ts'
import { processKind } from './process/process.ts'
import type { AnyTrustKind } from './trust-provider.ts'

export const trustKinds: readonly AnyTrustKind[] = [processKind, oidcKind]
