import { CLOCK_LAG_MS } from '../policy/index.ts'
import { type Standing, waitForRoom } from './standing.ts'

/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): quota `q` for each window of `w` seconds,
 * `r` requests left, `t` seconds until one more comes back. Our own parameter `burst` says how many may come beyond
 * the quota's steady rate, so that a first window of q + burst + refill surprises nobody.
 */
export function rateLimitHeaders(standings: readonly Standing[]): [string, string][] {
  const policy = standings.map(({ limit }) => {
    const burst = limit.burst > 0 ? `;burst=${limit.burst}` : ''
    return `"${limit.name}";q=${limit.quota};w=${limit.periodMs / 1000}${burst}`
  })
  const state = standings.map(
    ({ limit, remaining, nextMs }) => `"${limit.name}";r=${remaining};t=${Math.ceil(nextMs / 1000)}`,
  )
  return [
    ['ratelimit-policy', policy.join(', ')],
    ['ratelimit', state.join(', ')],
  ]
}

/**
 * Seconds after which a refused request will find room, if nobody else takes it, on any instance: one whose view of the
 * store's time lags behind this one's sees the refill by so much later.
 */
export function retryAfterSeconds(standings: readonly Standing[]): number {
  return Math.ceil((waitForRoom(standings) + CLOCK_LAG_MS) / 1000)
}
