import { createGateway, fixedPolicy, type Gateway, type GatewayOptions, type Policy } from '@tollgate/middleware'

/** A gateway in memory, without a log. @param change what the test wants different */
export function gatewayOver(policy: Policy, change: Partial<GatewayOptions> = {}): Gateway {
  return createGateway({
    policy: fixedPolicy(policy),
    storage: { kind: 'memory' },
    redis: undefined,
    cacheSecret: undefined,
    maxBodyBytes: 100_000,
    maxOutputTokens: 100,
    storeDeadlineMs: 5_000,
    cacheDeadlineMs: 5_000,
    firstByteMs: 5_000,
    totalMs: 5_000,
    idleMs: 5_000,
    streamTotalMs: 5_000,
    clientId: undefined,
    log: () => {},
    ...change,
  })
}
