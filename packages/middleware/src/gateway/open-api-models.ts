import * as z from 'zod'
import {
  answer,
  headersOf,
  type JsonSchema,
  type Operation,
  type PathItem,
  type Refusing,
  refTo,
  refusals,
  SECURED,
  schemaOf,
} from './open-api-parts.ts'

/*
 * The surfaces that ask models. Their bodies go on as they came, with fields that the gateway has never heard of: described is what it
 * checks, and what it answers by itself.
 */

const positive = z.int().min(1)
const model = z.string().min(1).describe("A name of the policy's, which GET …/models lists.")
const stream = z.boolean().nullable().optional().describe('Whether the answer comes as server-sent events.')
const streamOptions = z.looseObject({}).nullable().optional()

const generateBody = z.looseObject({
  prompt: z.string().min(1),
  system: z.string().optional(),
  model: z.string().optional().describe("A name of the policy's."),
  temperature: z.number().min(0).max(2).optional(),
  max_tokens: positive.optional(),
  stream: z.boolean().optional(),
})

const count = z.int().min(0).nullable()
const generateAnswer = z.strictObject({
  data: z.strictObject({
    completion: z.string().nullable(),
    refusal: z.literal(true).optional().describe('The model refuses to answer, and the completion says so.'),
    model: z.string().nullable(),
    usage: z.strictObject({ prompt_tokens: count, completion_tokens: count, total_tokens: count }),
  }),
  status: z.literal('success'),
})

const messages = z.array(z.looseObject({})).min(1)
const chatFields = {
  messages,
  stream,
  stream_options: streamOptions,
  max_tokens: positive.nullable().optional(),
  max_completion_tokens: positive.nullable().optional(),
  n: positive.nullable().optional(),
}
const embeddingsInput = z.union([
  z.string(),
  z.array(z.string()).min(1),
  z.array(z.int().min(0)).min(1),
  z.array(z.array(z.int().min(0)).min(1)).min(1),
])
const responsesBody = z.looseObject({
  model: model.nullable().optional(),
  input: z.union([z.string().min(1), z.array(z.looseObject({})).min(1)]),
  store: z.literal(false).describe('Nothing is kept here.'),
  stream,
  stream_options: streamOptions,
  max_output_tokens: positive.nullable().optional(),
})

/** Of the model's service, and its own. */
const serviceAnswer = z.looseObject({})

const dryRun = z.strictObject({
  dry_run: z.literal(true),
  verdict: z.enum(['model_asked', 'answered_from_cache', 'refused']),
  refusal: z
    .strictObject({
      status: z.int(),
      code: z.string(),
      message: z.string(),
      param: z.string().nullable(),
      retry_after_seconds: z.number().nullable(),
    })
    .nullable(),
  route: z.string().nullable(),
  model: z.string().nullable(),
  reason: z.string().nullable(),
  candidates: z
    .array(z.strictObject({ target: z.string(), zone: z.string().nullable(), tier: z.string().nullable() }))
    .nullable(),
  cache: z.enum(['hit', 'miss', 'bypass']).nullable(),
  worst: z
    .strictObject({ input_tokens: z.number(), output_tokens: z.number(), nano_usd: z.number().nullable() })
    .nullable()
    .describe('The most that it may take.'),
  limits: z.array(
    z.strictObject({
      limit: z.string(),
      counts: z.string(),
      of: z.number(),
      left: z.number(),
      more_in_seconds: z.number(),
    }),
  ),
})

const listedModel = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
})

export const MODEL_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  GenerateRequest: schemaOf(generateBody),
  GenerateAnswer: schemaOf(generateAnswer),
  ChatRequest: schemaOf(z.looseObject({ model: model.nullable().optional(), ...chatFields })),
  DeployedChatRequest: schemaOf(z.looseObject(chatFields)),
  EmbeddingsRequest: schemaOf(z.looseObject({ model: model.nullable().optional(), input: embeddingsInput })),
  DeployedEmbeddingsRequest: schemaOf(z.looseObject({ input: embeddingsInput })),
  ResponsesRequest: schemaOf(responsesBody),
  ServiceAnswer: { ...schemaOf(serviceAnswer), description: 'As the model’s service answered.' },
  DryRun: { ...schemaOf(dryRun), description: 'What would become of the request.' },
  ListedModel: schemaOf(listedModel),
  ModelList: {
    type: 'object',
    properties: { object: { const: 'list' }, data: { type: 'array', items: refTo('schemas', 'ListedModel') } },
    required: ['object', 'data'],
    additionalProperties: false,
  },
}

const LIMIT_HEADERS = [
  'RateLimit-Policy',
  'RateLimit',
  'X-RateLimit-Limit-requests',
  'X-RateLimit-Remaining-requests',
  'X-RateLimit-Reset-requests',
  'X-RateLimit-Limit-tokens',
  'X-RateLimit-Remaining-tokens',
  'X-RateLimit-Reset-tokens',
]
const CALL_HEADERS = [
  ...LIMIT_HEADERS,
  'Cache-Status',
  'Age',
  'X-Tollgate-Model',
  'X-Tollgate-Reason',
  'X-Tollgate-Target',
  'X-Tollgate-Cost',
]
const RETRY_HEADERS = ['Retry-After', 'Retry-After-Ms', 'X-Should-Retry']

const GENERATE: Refusing = {
  name: 'GenerateRefusal',
  error: 'Error',
  headers: [...CALL_HEADERS, ...RETRY_HEADERS],
  statuses: [400, 401, 403, 408, 413, 429, 500, 502, 503, 504],
}
/** These pass on what the model's service says of the request itself. */
const OPENAI: Refusing = {
  name: 'CallRefusal',
  error: 'OpenAIError',
  headers: [...CALL_HEADERS, ...RETRY_HEADERS],
  statuses: [400, 401, 403, 404, 408, 413, 415, 422, 429, 451, 500, 502, 503, 504],
}
const LISTING: Refusing = {
  name: 'ModelsRefusal',
  error: 'OpenAIError',
  headers: [...LIMIT_HEADERS, ...RETRY_HEADERS],
  statuses: [401, 403, 404, 429, 500, 503],
}
export const MODEL_REFUSALS = [GENERATE, OPENAI, LISTING]

const CALL_PARAMETERS = [
  {
    name: 'x-tollgate-dry-run',
    in: 'header',
    description:
      'true: no model is asked, nothing is taken from a limit, and the answer says what would become of the request.',
    schema: { type: 'string' },
  },
  {
    name: 'Cache-Control',
    in: 'header',
    description: '`no-cache`, `no-store`, `only-if-cached`, `max-age=…` (RFC 9111).',
    schema: { type: 'string' },
  },
  { name: 'X-Request-ID', in: 'header', description: '1 to 128 visible ASCII characters.', schema: { type: 'string' } },
]

interface Call {
  readonly id: string
  readonly summary: string
  readonly request: string
  readonly answer: string
  readonly refusing: Refusing
  readonly streams: boolean
  readonly parameters?: readonly object[]
}

function call({ id, summary, request, answer: body, refusing, streams, parameters = [] }: Call): PathItem {
  const schema = { anyOf: [refTo('schemas', body), refTo('schemas', 'DryRun')] }
  const post: Operation = {
    operationId: id,
    summary,
    tags: ['Models'],
    description: 'A key of scope `call`.',
    security: SECURED,
    parameters: [...parameters, ...CALL_PARAMETERS],
    requestBody: { required: true, content: { 'application/json': { schema: refTo('schemas', request) } } },
    responses: {
      200: {
        description: 'The answer; as events where it was asked for so.',
        headers: headersOf('X-Request-ID', 'Cache-Control', 'X-Accel-Buffering', ...CALL_HEADERS),
        content: {
          'application/json': { schema },
          ...(streams && { 'text/event-stream': { schema: { type: 'string' } } }),
        },
      },
      ...refusals(refusing),
    },
  }
  return { post }
}

const DEPLOYMENT = {
  name: 'deployment',
  in: 'path',
  required: true,
  description: "A name of the policy's.",
  schema: { type: 'string', minLength: 1 },
}

interface Spoken {
  readonly id: string
  readonly request: string
  readonly parameters?: readonly object[]
}

const spoken = { refusing: OPENAI, answer: 'ServiceAnswer' } as const
const chats = (of: Spoken) => call({ ...spoken, ...of, streams: true, summary: 'A chat completion.' })
const embeds = (of: Spoken) => call({ ...spoken, ...of, streams: false, summary: 'Embeddings.' })
const responds = (id: string) =>
  call({ ...spoken, id, request: 'ResponsesRequest', streams: true, summary: 'A response, of which nothing is kept.' })
const generates = (id: string) =>
  call({
    id,
    summary: 'A prompt in, a completion out.',
    request: 'GenerateRequest',
    answer: 'GenerateAnswer',
    refusing: GENERATE,
    streams: true,
  })

function lists(id: string): PathItem {
  return { get: listing(id, 'The models that the caller may use.', 'ModelList', [], [401, 403, 429, 500, 503]) }
}

function shows(id: string): PathItem {
  const named = { name: 'model', in: 'path', required: true, schema: { type: 'string', minLength: 1 } }
  return { get: listing(id, 'A model.', 'ListedModel', [named], [401, 403, 404, 429, 500, 503]) }
}

function listing(
  operationId: string,
  summary: string,
  schema: string,
  parameters: readonly object[],
  statuses: readonly number[],
): Operation {
  return {
    operationId,
    summary,
    tags: ['Models'],
    description: 'A key of scope `call`.',
    security: SECURED,
    parameters,
    responses: {
      200: answer(summary, refTo('schemas', schema), ...LIMIT_HEADERS),
      ...refusals(LISTING, statuses),
    },
  }
}

/** The API that a deployment's clients name by its date means nothing here: what is known of it decides. */
const API_VERSION = { name: 'api-version', in: 'query', description: 'Ignored.', schema: { type: 'string' } }
const deployed = { parameters: [DEPLOYMENT, API_VERSION] }

export const MODEL_PATHS: Readonly<Record<string, PathItem>> = {
  '/generate': generates('generate'),
  '/v1/llm/generate': generates('generateV1'),
  '/v1/chat/completions': chats({ id: 'createChatCompletion', request: 'ChatRequest' }),
  '/v1/embeddings': embeds({ id: 'createEmbeddings', request: 'EmbeddingsRequest' }),
  '/v1/responses': responds('createResponse'),
  '/v1/models': lists('listModels'),
  '/v1/models/{model}': shows('showModel'),
  '/openai/deployments/{deployment}/chat/completions': chats({
    id: 'azureCreateChatCompletion',
    request: 'DeployedChatRequest',
    ...deployed,
  }),
  '/openai/deployments/{deployment}/embeddings': embeds({
    id: 'azureCreateEmbeddings',
    request: 'DeployedEmbeddingsRequest',
    ...deployed,
  }),
  '/openai/responses': responds('azureCreateResponse'),
  '/openai/models': lists('azureListModels'),
  '/openai/models/{model}': shows('azureShowModel'),
  '/openai/v1/chat/completions': chats({ id: 'azureV1CreateChatCompletion', request: 'ChatRequest' }),
  '/openai/v1/embeddings': embeds({ id: 'azureV1CreateEmbeddings', request: 'EmbeddingsRequest' }),
  '/openai/v1/responses': responds('azureV1CreateResponse'),
  '/openai/v1/models': lists('azureV1ListModels'),
  '/openai/v1/models/{model}': shows('azureV1ShowModel'),
}
