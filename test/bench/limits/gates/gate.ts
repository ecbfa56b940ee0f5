import type { BudgetLimit, RateLimit } from '@tollgate/middleware'

/** A limiter that is measured: ours or a peer. */
export interface Gate {
  /** @throws what the limiter throws when it could not decide */
  admit(subject: string, limit: RateLimit | BudgetLimit): Promise<Verdict>
  /** Units that this process holds of the subject's limit and could spend without asking; 0 for limiters without leases. */
  held(subject: string): number
  /**
   * Units that the store and this process's own lease had together, at the least, at the moment of the call. Exact only
   * while no other process asks for the subject. For limiters that can be looked into.
   */
  inspect?(subject: string, limit: RateLimit): Promise<number>
}

export type Verdict = { readonly admitted: true } | { readonly admitted: false; readonly retryAfterMs: number }

export const GATES = ['tollgate-tables', 'tollgate-redis', 'cas-tables', 'rlf-redis', 'rlf-memory'] as const

export type GateName = (typeof GATES)[number]

/** Those that promise that no limit is ever exceeded. */
export const OURS = ['tollgate-tables', 'tollgate-redis'] as const satisfies readonly GateName[]

/** What a limiter keeps its counters in. */
export type StoreKind = 'tables' | 'redis' | 'none'

export function storeOf(gate: GateName): StoreKind {
  if (gate.endsWith('-tables')) return 'tables'
  return gate.endsWith('-redis') ? 'redis' : 'none'
}

/** Its name on the page. */
export const GATE_TITLES: Readonly<Record<GateName, string>> = {
  'tollgate-tables': 'Tollgate, tables',
  'tollgate-redis': 'Tollgate, Redis',
  'cas-tables': 'compare-and-swap a request, tables',
  'rlf-redis': 'rate-limiter-flexible, Redis',
  'rlf-memory': 'rate-limiter-flexible, in each process',
}

/** Longest wait for a decision, in milliseconds: the gateway's own default. */
export const DEADLINE_MS = 2_000
