import * as z from 'zod'
import { duration, durationMs } from './duration.ts'
import { interned } from './interned.ts'
import { name } from './names.ts'

/*
 * A route is a name for a default model, a rule for the cache and transforms. It makes no URL: each surface takes the route of
 * its own name.
 */

/** The routes of the surfaces that ship with Tollgate. A composition that has others passes its own names to the resolver. */
export const ROUTES: readonly string[] = ['generate', 'chat', 'embeddings', 'responses']

/** Routes whose requests have no messages, which are all that transforms know. */
const UNTRANSFORMED: ReadonlySet<string> = new Set(['embeddings', 'responses'])

/** The model that the `OPENAI_*` settings serve unless the policy says where, and that a route has unless it names another. */
export const DEFAULT_MODEL = 'default'

export interface CacheRule {
  readonly ttlMs: number
  /** Whether an answer that was sampled (temperature above 0) is stored too. */
  readonly sampled: boolean
  /** Who is served what is stored: the consumer that asked, all of its plan, or all. */
  readonly scope: 'consumer' | 'plan' | 'shared'
  /** Whether an answer that calls tools is stored too. */
  readonly tools: boolean
}

/** What is taken out of a prompt before the model reads it. */
export interface TransformRule {
  readonly lineEndings: boolean
  readonly minifyJson: boolean
  /** The elements of which repetitions are dropped, sorted, each once; empty where none are. */
  readonly dropDuplicates: readonly string[]
}

export interface RoutePolicy {
  /** The model where a request names none. */
  readonly model: string
  /** `undefined` where the route is not cached. */
  readonly cache: CacheRule | undefined
  readonly transforms: TransformRule
}

/** The routes that a policy names. */
export type Routes = ReadonlyMap<string, RoutePolicy>

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

const route = z.strictObject({
  model: name.optional().describe('The model where the request names none.'),
  cache: cache.optional(),
  transforms: transforms.optional(),
})

type RouteDocument = z.infer<typeof route>

/** The grammar of `routes`. Each name is a field of its own, so that a misspelt one is refused with the one that was meant. */
export function routesSchema(names: readonly string[]) {
  return z.strictObject(Object.fromEntries(names.map((each) => [each, route.optional()])))
}

export type RouteDocuments = Readonly<Record<string, RouteDocument | undefined>>

/** The routes of a document, with their defaults filled in. */
export function resolveRoutes(documents: RouteDocuments = {}): Routes {
  return new Map(
    Object.entries(documents).flatMap(([name, document]) =>
      document ? [[name, interned(resolveRoute(document))] as const] : [],
    ),
  )
}

/** What a document says of routes that their requests can't be given. */
export function routeFaults(documents: RouteDocuments = {}): string[] {
  const names = Object.keys(documents).filter((name) => UNTRANSFORMED.has(name) && documents[name]?.transforms)
  return names.map((name) => `routes.${name}.transforms: only messages of chats are transformed. Leave it out.`)
}

/** A policy's route; one that it doesn't name has the defaults. */
export function routeOf({ routes }: { readonly routes: Routes }, name: string): RoutePolicy {
  return routes.get(name) ?? DEFAULT_ROUTE
}

const DEFAULT_TTL = '1h'
const DEFAULT_TAGS = ['document', 'chunk', 'passage', 'context']

function resolveRoute({ model = DEFAULT_MODEL, cache, transforms }: RouteDocument): RoutePolicy {
  return { model, cache: cacheRule(cache), transforms: transformRule(transforms) }
}

function cacheRule(cache: RouteDocument['cache']): CacheRule | undefined {
  if (cache === false) return undefined
  const { ttl = DEFAULT_TTL, sampled = true, scope = 'consumer', tools = false } = cache ?? {}
  return { ttlMs: durationMs(ttl), sampled, scope, tools }
}

function transformRule(transforms: RouteDocument['transforms']): TransformRule {
  const { lineEndings = false, minifyJson = false, dropDuplicates = false } = transforms ?? {}
  const tags = dropDuplicates === true ? DEFAULT_TAGS : dropDuplicates || []
  return { lineEndings, minifyJson, dropDuplicates: [...new Set(tags)].toSorted() }
}

const DEFAULT_ROUTE = interned(resolveRoute({}))
