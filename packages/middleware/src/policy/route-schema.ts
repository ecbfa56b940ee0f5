import * as z from 'zod'
import { duration, durationMs } from './duration.ts'
import { name } from './name.ts'

const LONGEST_TTL = '30d'

const ttl = duration
  .refine((text) => durationMs(text) <= durationMs(LONGEST_TTL), `must be at most ${LONGEST_TTL}. Shorten it.`)
  .describe(`How long a completion is served again (1h), at most ${LONGEST_TTL}.`)

const scope = z
  .enum(['consumer', 'plan', 'shared'], { error: 'must be consumer, plan or shared' })
  .describe(
    'Who is served a stored completion: the consumer that asked (consumer, the default), all of its plan (plan), or ' +
      'all (shared). plan and shared let one consumer learn, by the time an answer takes, that another asked the same.',
  )

const cache = z.union(
  [
    z.literal(false),
    z.strictObject({
      ttl: ttl.optional(),
      scope: scope.optional(),
      sampled: z.boolean().optional().describe('Cache although the temperature is above 0 (true).'),
      tools: z.boolean().optional().describe('Cache answers that call tools too (false).'),
    }),
  ],
  { error: 'must be false, or {ttl: 1h, scope: consumer, sampled: true, tools: false}' },
)

const tag = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/, 'must be the name of an element, such as document, without < and >')

const transforms = z
  .strictObject({
    lineEndings: z.boolean().optional().describe('Make every line end with a line feed alone (false).'),
    minifyJson: z.boolean().optional().describe('Take white space out of JSON in declared blocks of data (false).'),
    dropDuplicates: z
      .union([z.boolean(), z.array(tag).min(1).max(16)], {
        error: 'must be true, false, or a list of elements such as [document, chunk]',
      })
      .optional()
      .describe(
        'Take out elements of context that the request has already, byte for byte (false). true: document, chunk, ' +
          'passage and context.',
      ),
  })
  .describe('What is taken out of a prompt before the model reads it. All off by default.')

export const route = z.strictObject({
  model: name.optional().describe('The model where the request names none.'),
  cache: cache.optional(),
  transforms: transforms.optional(),
})

export type RouteDocument = z.infer<typeof route>
