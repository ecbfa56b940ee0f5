import * as z from 'zod'

/* What the operations of the OpenAPI document are put together from. */

export type JsonSchema = Readonly<Record<string, unknown>>

export interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly tags: readonly string[]
  readonly [field: string]: unknown
}

export type PathItem = Readonly<Partial<Record<'get' | 'head' | 'post' | 'put' | 'patch' | 'delete', Operation>>>

/** @param io what is sent in, or what comes out of it */
export function schemaOf(schema: z.ZodType, io: 'input' | 'output' = 'input'): JsonSchema {
  const { $schema: _, $defs = {}, ...json } = z.toJSONSchema(schema, { io })
  return withoutDefs(json, $defs) as JsonSchema
}

/** A schema in a document can't have definitions of its own: what they define stands where it is named. */
function withoutDefs(node: unknown, defs: Readonly<Record<string, unknown>>): unknown {
  if (Array.isArray(node)) return node.map((each) => withoutDefs(each, defs))
  if (typeof node !== 'object' || node === null) return node
  const { $ref, ...own } = withoutPattern(node) as { readonly $ref?: unknown }
  const { id: _, ...defined } = (defs[String($ref).replace('#/$defs/', '')] ?? {}) as { readonly id?: unknown }
  return Object.fromEntries(
    Object.entries({ ...defined, ...own }).map(([name, each]) => [name, withoutDefs(each, defs)]),
  )
}

/** A format says it already, in a hundredth of the length. */
function withoutPattern(node: object): object {
  if (!('format' in node && 'pattern' in node)) return node
  const { pattern: _, ...others } = node
  return others
}

export const refTo = (kind: string, name: string) => ({ $ref: `#/components/${kind}/${name}` })

/** Who calls shows it by one of these. */
export const SECURITY_SCHEMES = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    description: "A key, or an issuer's token where the policy names issuers.",
  },
  xApiKey: { type: 'apiKey', in: 'header', name: 'X-API-KEY' },
  apiKey: { type: 'apiKey', in: 'header', name: 'api-key', description: "As Azure OpenAI's clients send it." },
  subscriptionKey: {
    type: 'apiKey',
    in: 'header',
    name: 'Ocp-Apim-Subscription-Key',
    description: "As API Management's clients send it.",
  },
} as const
export const SECURED = Object.keys(SECURITY_SCHEMES).map((name) => ({ [name]: [] }))
export const OPEN: readonly never[] = []

const text = { type: 'string' }
const whole = { type: 'integer', minimum: 0 }

/** Headers of answers, by their names. */
export const HEADERS: Readonly<Record<string, { readonly description: string; readonly schema: JsonSchema }>> = {
  'X-Request-ID': { description: "The request's id: its own `X-Request-ID`, or a new one.", schema: text },
  'Cache-Control': { description: 'Whether and how the answer may be kept.', schema: text },
  'X-Content-Type-Options': { description: '`nosniff`.', schema: text },
  'Retry-After': { description: 'Seconds to wait before another try.', schema: whole },
  'Retry-After-Ms': { description: 'The same in milliseconds.', schema: { type: 'number', minimum: 0 } },
  'X-Should-Retry': { description: '`false`: asking the same again would be refused again.', schema: text },
  'WWW-Authenticate': { description: 'What is missing of the credential (RFC 6750).', schema: text },
  Allow: { description: 'The methods that the path takes.', schema: text },
  'X-Accel-Buffering': { description: '`no`: a stream is not to be kept by proxies.', schema: text },
  ETag: { description: "The document's digest.", schema: text },
  'RateLimit-Policy': {
    description:
      'The limits that hold (draft-ietf-httpapi-ratelimit-headers): quota `q` for each window of `w` seconds.',
    schema: text,
  },
  RateLimit: { description: 'What is left of each: `r` units, and more in `t` seconds.', schema: text },
  ...Object.fromEntries(
    ['requests', 'tokens'].flatMap((unit) => [
      [`X-RateLimit-Limit-${unit}`, { description: `As OpenAI tells it: the most ${unit} at once.`, schema: whole }],
      [`X-RateLimit-Remaining-${unit}`, { description: `As OpenAI tells it: ${unit} left.`, schema: whole }],
      [
        `X-RateLimit-Reset-${unit}`,
        { description: 'As OpenAI tells it: until none is missing, such as 1m30s.', schema: text },
      ],
    ]),
  ),
  'Cache-Status': { description: 'What the cache did (RFC 9211).', schema: text },
  Age: { description: 'Of a hit: its age in seconds.', schema: whole },
  'X-Tollgate-Model': { description: "The policy's name of the model that answered.", schema: text },
  'X-Tollgate-Reason': {
    description: 'Why that model: `named`, `default`, `alias`, `split`, `fallback` …',
    schema: text,
  },
  'X-Tollgate-Target': { description: 'The id of the target that answered.', schema: text },
  'X-Tollgate-Cost': {
    description: 'What the request cost, in US dollars. Of a stream it is the last comment instead.',
    schema: text,
  },
}

export type HeaderName = string

export function headersOf(...names: readonly HeaderName[]): JsonSchema {
  return Object.fromEntries(names.map((name) => [name, refTo('headers', name)]))
}

export function json(schema: JsonSchema): JsonSchema {
  return { 'application/json': { schema } }
}

/** An answer with a body of JSON. */
export function answer(description: string, schema: JsonSchema, ...headers: readonly HeaderName[]): JsonSchema {
  return { description, headers: headersOf('X-Request-ID', ...headers), content: json(schema) }
}

/** Refusals in one shape, each of which stands once in the document, whoever may be told it. */
export interface Refusing {
  readonly name: string
  readonly error: 'Error' | 'OpenAIError'
  readonly headers: readonly HeaderName[]
  readonly statuses: readonly number[]
}

/** By status, as an operation has them. */
export function refusals({ name, statuses }: Refusing, some = statuses): Readonly<Record<string, JsonSchema>> {
  return Object.fromEntries(some.map((status) => [String(status), refTo('responses', `${name}${status}`)]))
}

export function refusedAnswers(shapes: readonly Refusing[]): Readonly<Record<string, JsonSchema>> {
  return Object.fromEntries(
    shapes.flatMap(({ name, error, headers, statuses }) =>
      statuses.map((status) => {
        const own = HEADERS_OF_STATUS[status] ?? []
        const told = answer(REFUSED[status] ?? 'Refused.', refTo('schemas', error), ...new Set([...headers, ...own]))
        return [`${name}${status}`, told]
      }),
    ),
  )
}

const HEADERS_OF_STATUS: Readonly<Record<number, readonly HeaderName[]>> = {
  401: ['WWW-Authenticate'],
  403: ['WWW-Authenticate'],
  405: ['Allow'],
  429: ['Retry-After'],
  503: ['Retry-After'],
}

const REFUSED: Readonly<Record<number, string>> = {
  400: 'What was sent can’t be read, or a field or parameter is wrong: `param` names it.',
  401: 'No valid key or token.',
  403: 'The key, the plan or its rights do not allow this.',
  404: 'There is no such path, model or row.',
  405: 'The path takes other methods: `Allow` names them.',
  408: 'It took longer than any request may.',
  409: 'It is not as it was when this was asked for.',
  412: 'It is not as the request says that it must be.',
  413: 'The body is too large.',
  415: 'The body is of another type than the path takes.',
  422: 'It can be read, and can’t be done: it names what there is not.',
  429: 'A limit, a budget or a bound on tries holds.',
  451: 'The model’s service does not take this request.',
  500: 'A fault of the gateway, or of its settings.',
  502: 'The model’s service failed.',
  503: 'A store or the model can’t be reached, or the process ends.',
  504: 'Nothing is cached, and no call was wanted.',
}

/** `{"error": …, "code": …}`, as all routes but OpenAI's answer. */
export const plainError = z.strictObject({
  error: z.string().describe('For people: names the field and the fix.'),
  code: z.string().describe('For programs: it stays the same.'),
  param: z.string().optional().describe('The field or parameter at fault.'),
  details: z.string().optional(),
})

const nullableText = z.string().nullable()

/** As OpenAI answers; where a model's service refuses what was asked, its own error stands here whole. */
export const openaiError = z.looseObject({
  error: z.looseObject({
    message: z.string().optional(),
    type: nullableText.optional(),
    param: nullableText.optional(),
    code: z.union([z.string(), z.number()]).nullable().optional(),
  }),
})
