import type { RateLimit } from '@tollgate/middleware'
import type { GateName } from './gates/gate.ts'
import { rate } from './limit.ts'
import type { Trial } from './trial.ts'

/** Many consumers, who each have a limit of the same size. */
export interface ConsumerLoad {
  readonly name: string
  readonly limit: RateLimit
  /** Steady seconds: where leases live long, two of their lives, so that no renewal is missed. */
  readonly seconds: number
}

export const CONSUMERS = 200
export const REQUESTS_PER_SECOND = 1_000
const WARM_UP_SECONDS = 20
/** All processes start cold: at full load at once, Azurite would be measured, which takes a tenth of what Azure takes. */
const RAMP_SECONDS = 10

export const AMPLE: ConsumerLoad = { name: 'limits ample (60,000 a minute)', limit: rate(60_000, 60_000), seconds: 90 }
export const TEN_A_SECOND: ConsumerLoad = {
  name: '10 a second, B = 600',
  limit: rate(10, 1_000, { capacity: 600 }),
  seconds: 40,
}
export const TINY: ConsumerLoad = {
  name: '10 a minute, burst 5',
  limit: rate(10, 60_000, { capacity: 15 }),
  seconds: 20,
}

export interface ConsumerTrial {
  readonly gate: GateName
  readonly processes: number
  readonly load: ConsumerLoad
  readonly quick: boolean
  /** All processes together. */
  readonly perSecond?: number
  readonly delayMs?: number
  /** Instead of the load's own. */
  readonly seconds?: number
  readonly warmUpSeconds?: number
}

/** Requests over all the consumers, evenly spread, at random moments. */
export function consumerTrial({ gate, processes, load, quick, delayMs = 0, ...rest }: ConsumerTrial): Trial {
  const { perSecond = REQUESTS_PER_SECOND, seconds = load.seconds, warmUpSeconds = WARM_UP_SECONDS } = rest
  return {
    name: `${load.name}${delayMs > 0 ? `, ${delayMs} ms away` : ''}`,
    gate,
    processes,
    streams: [
      {
        name: 'consumer',
        subjects: CONSUMERS,
        limit: load.limit,
        arrivals: { kind: 'poisson', perSecond, rampSeconds: quick ? 0 : RAMP_SECONDS },
      },
    ],
    warmUpSeconds: quick ? 0.3 : warmUpSeconds,
    seconds: quick ? 0.7 : seconds,
    delayMs,
  }
}
