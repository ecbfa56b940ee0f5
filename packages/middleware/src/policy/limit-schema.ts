import * as z from 'zod'
import { duration } from './duration.ts'
import type { Epoch } from './limit.ts'
import { name } from './name.ts'

/** The words that make a limit a quota in a UTC window. */
export const EPOCHS = ['minute', 'hour', 'day', 'month'] as const satisfies readonly Epoch[]

const epoch = z.enum(EPOCHS, { error: 'must be minute, hour, day or month' })

const period = z
  .union([duration, epoch], { error: 'must be a duration such as 30s or 1m, or minute, hour, day or month' })
  .describe('A duration (1m) makes a bucket that refills steadily; a word (month) makes a quota in that window of UTC.')

const MOST_REQUESTS = 1_000_000_000
const MOST_TOKENS = 1_000_000_000_000

const burst = (most: number) =>
  z.int().min(0).max(most).optional().describe('What is admitted at once beyond the steady rate. Durations only.')

const strict = z
  .boolean()
  .optional()
  .describe('Keep any window of the period at or under the number. Durations only, and without burst.')

const model = name.optional().describe("Count this model's requests alone. Absent: those of all models.")

const requestLimit = z
  .strictObject({
    requests: z.int().min(1).max(MOST_REQUESTS).describe('Requests admitted in each period.'),
    per: period,
    burst: burst(MOST_REQUESTS),
    strict,
    model,
  })
  .describe('{requests: 10, per: 1m, burst: 5}: any interval W admits at most 15 + W × 10/minute.')

const tokenLimit = z
  .strictObject({
    tokens: z.int().min(1).max(MOST_TOKENS).describe('Tokens admitted in each period.'),
    per: period,
    burst: burst(MOST_TOKENS),
    strict,
    count: z.enum(['total', 'input', 'output']).optional().describe('Which tokens count (total: both).'),
    model,
  })
  .describe('{tokens: 20000, per: 1m}')

const moneyLimit = z
  .strictObject({
    usd: z.number().min(0.000_000_001).max(1_000_000).describe('US dollars spent in each window, to the nano-dollar.'),
    per: epoch,
    model,
  })
  .describe('{usd: 5, per: month}: needs prices under models.')

const concurrencyLimit = z
  .strictObject({ concurrent: z.int().min(1).max(100_000).describe('Requests in flight.'), model })
  .describe('{concurrent: 2}')

const limit = z
  .union([requestLimit, tokenLimit, moneyLimit, concurrencyLimit], {
    error: 'must be a limit such as {requests: 10, per: 1m}',
  })
  .meta({ id: 'limit', description: 'One limit. All limits that hold for a request are kept, each by itself.' })

export const limits = z.array(limit).max(16)

export type LimitDocument = z.infer<typeof limit>
