import * as z from 'zod'
import { USAGE_DIMENSIONS } from '../usage/index.ts'
import { meSchema } from './me.ts'
import {
  answer,
  headersOf,
  type JsonSchema,
  OPEN,
  type PathItem,
  type Refusing,
  refTo,
  refusals,
  SECURED,
  schemaOf,
} from './open-api-parts.ts'

/* What is read of usage, metrics and health, and the document itself. */

const count = z.int().min(0)
const time = z.string().describe('ISO 8601 in UTC.')
const money = { NanoUsd: z.int(), Usd: z.string() }

const sums = {
  requests: count,
  answered: count,
  hits: count,
  collapsed: count,
  refused: count,
  failed: count,
  tokens: z.record(z.string(), z.number()),
  costNanoUsd: money.NanoUsd,
  costUsd: money.Usd,
  savedNanoUsd: money.NanoUsd,
  savedUsd: money.Usd,
  unpricedCalls: count,
  uncertainRequests: count,
}

/** A later version may tell more. */
const report = z.looseObject({
  by: z.enum(USAGE_DIMENSIONS),
  since: time,
  until: time,
  asOf: time,
  rows: z.array(z.looseObject({ name: z.string(), ...sums })),
  total: z.looseObject(sums),
  unattributed: z
    .array(
      z.looseObject({
        subject: z.string(),
        limit: z.string(),
        measure: z.string(),
        windowStart: time,
        tokens: z.number().optional(),
        nanoUsd: z.number().optional(),
        usd: z.string().optional(),
      }),
    )
    .nullable()
    .describe('What budgets charged and no row tells of; null where that can’t be told.'),
  unreadable: z.array(z.string()),
})

const why = z.strictObject({
  requestId: z.string(),
  since: time,
  until: time,
  requests: z.array(
    z.looseObject({
      id: z.string(),
      requestId: z.string(),
      startedAt: time,
      status: z.int(),
      outcome: z.enum(['answered', 'refused', 'failed', 'call']),
      steps: z.array(z.looseObject({ name: z.string(), decision: z.string(), ms: z.number() })),
    }),
  ),
})

/** RFC 9728, section 2. */
const protectedResource = z.looseObject({
  resource: z.string(),
  authorization_servers: z.array(z.string()),
  bearer_methods_supported: z.array(z.string()),
  scopes_supported: z.array(z.string()).optional(),
})
const live = z.strictObject({ status: z.literal('live') })
const readiness = z.strictObject({
  status: z.enum(['ready', 'not ready']),
  checks: z.record(z.string(), z.enum(['ok', 'failed'])),
})

export const READ_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  UsageReport: schemaOf(report),
  RequestStories: schemaOf(why),
  Me: schemaOf(meSchema, 'output'),
  ProtectedResource: schemaOf(protectedResource),
  Live: schemaOf(live),
  Readiness: schemaOf(readiness),
}

const query = (name: string, schema: JsonSchema, description: string) => ({ name, in: 'query', description, schema })
const MOMENT = 'A span back from now such as 12h or 7d, or a date in UTC.'
const SPAN = [
  query('since', { type: 'string' }, MOMENT),
  query('until', { type: 'string' }, `${MOMENT} Now by default.`),
]
const READ = { tags: ['Usage'], description: 'A key of scope `read`.', security: SECURED }
const READING: Refusing = {
  name: 'ReadRefusal',
  error: 'Error',
  headers: ['Cache-Control'],
  statuses: [400, 401, 403, 404, 429, 500, 503],
}
export const READ_REFUSALS = [READING]
const REPORT_REFUSALS = refusals(READING, [400, 401, 403, 429, 500, 503])

const healthy = {
  tags: ['Health'],
  security: OPEN,
  parameters: [
    query(
      'ready',
      { type: 'string' },
      'With it, tables, limits and the model are looked at, at most once in 10 seconds.',
    ),
  ],
}
const LIVE = 'The process answers.'
const NOT_READY = 'Something that it can’t work without is not there.'

const NOT_MODIFIED = {
  description: 'It is as the request’s `If-None-Match` has it.',
  headers: headersOf('ETag', 'Cache-Control', 'X-Content-Type-Options'),
}

export const READ_PATHS: Readonly<Record<string, PathItem>> = {
  '/usage': {
    get: {
      operationId: 'reportUsage',
      summary: 'What requests came to: who asked how much, what it cost, and what the cache saved.',
      ...READ,
      parameters: [
        query('by', { type: 'string', enum: [...USAGE_DIMENSIONS] }, 'What the rows are (consumer).'),
        ...SPAN,
        query('consumer', { type: 'string', minLength: 1, maxLength: 512 }, 'Of this consumer alone.'),
        query('model', { type: 'string', maxLength: 512 }, 'Of this model of the policy alone.'),
        query('format', { type: 'string', enum: ['json', 'csv'] }, 'json by default.'),
      ],
      responses: {
        200: {
          description: 'The report.',
          headers: headersOf('X-Request-ID', 'Cache-Control'),
          content: {
            'application/json': { schema: refTo('schemas', 'UsageReport') },
            'text/csv': { schema: { type: 'string' } },
          },
        },
        ...REPORT_REFUSALS,
      },
    },
  },
  '/usage/requests/{id}': {
    get: {
      operationId: 'explainRequest',
      summary: 'All requests of this id, each with its story, the newest first.',
      ...READ,
      parameters: [
        {
          name: 'id',
          in: 'path',
          required: true,
          description: "As an answer's X-Request-ID says.",
          schema: { type: 'string', minLength: 1 },
        },
        ...SPAN,
      ],
      responses: {
        200: answer('The stories.', refTo('schemas', 'RequestStories'), 'Cache-Control'),
        ...REPORT_REFUSALS,
        ...refusals(READING, [404]),
      },
    },
  },
  '/me': {
    get: {
      operationId: 'me',
      summary: 'What holds for who asks: limits and what is left of them, models, and what was spent this month.',
      tags: ['Usage'],
      description: 'Any key or token.',
      security: SECURED,
      responses: {
        200: answer('The caller.', refTo('schemas', 'Me'), 'Cache-Control'),
        ...refusals(READING, [401, 403, 429, 500, 503]),
      },
    },
  },
  '/metrics': {
    get: {
      operationId: 'metrics',
      summary: 'Counters and histograms, for Prometheus.',
      ...READ,
      parameters: [
        query('names', { type: 'string', enum: ['tollgate', 'litellm'] }, 'Whose names they have (tollgate).'),
      ],
      responses: {
        200: {
          description: 'In the text format that `Accept` asks for.',
          headers: headersOf('X-Request-ID', 'Cache-Control'),
          content: {
            'text/plain': { schema: { type: 'string' } },
            'application/openmetrics-text': { schema: { type: 'string' } },
          },
        },
        ...REPORT_REFUSALS,
      },
    },
  },
  '/.well-known/oauth-protected-resource': {
    get: {
      operationId: 'protectedResource',
      summary: 'Who signs callers in (RFC 9728).',
      tags: ['Health'],
      security: OPEN,
      responses: {
        200: answer('The metadata.', refTo('schemas', 'ProtectedResource'), 'Cache-Control'),
        ...refusals(READING, [404, 500, 503]),
      },
    },
    head: {
      operationId: 'headProtectedResource',
      summary: 'The same without a body.',
      tags: ['Health'],
      security: OPEN,
      responses: Object.fromEntries(
        [200, 404, 500, 503].map((status) => [
          status,
          { description: 'As of GET.', headers: headersOf('X-Request-ID', 'Cache-Control', 'Retry-After') },
        ]),
      ),
    },
  },
  '/health': {
    get: {
      operationId: 'health',
      summary: 'Whether the process answers; with `ready`, whether it can serve.',
      ...healthy,
      responses: {
        200: {
          description: LIVE,
          headers: headersOf('Cache-Control'),
          content: {
            'application/json': { schema: { anyOf: [refTo('schemas', 'Live'), refTo('schemas', 'Readiness')] } },
          },
        },
        503: {
          description: NOT_READY,
          headers: headersOf('Cache-Control'),
          content: { 'application/json': { schema: refTo('schemas', 'Readiness') } },
        },
      },
    },
    head: {
      operationId: 'headHealth',
      summary: 'The same without a body.',
      ...healthy,
      responses: {
        200: { description: LIVE, headers: headersOf('Cache-Control') },
        503: { description: NOT_READY, headers: headersOf('Cache-Control') },
      },
    },
  },
  '/openapi.json': {
    get: {
      operationId: 'openApi',
      summary: 'This document.',
      tags: ['Health'],
      security: OPEN,
      parameters: [{ name: 'If-None-Match', in: 'header', schema: { type: 'string' } }],
      responses: {
        200: {
          description: 'OpenAPI 3.1.',
          headers: headersOf('ETag', 'Cache-Control', 'X-Content-Type-Options'),
          content: { 'application/json': { schema: { type: 'object' } } },
        },
        304: NOT_MODIFIED,
        405: {
          description: 'The path takes GET and HEAD.',
          headers: headersOf('Allow'),
          content: { 'application/json': { schema: refTo('schemas', 'Error') } },
        },
      },
    },
    head: {
      operationId: 'headOpenApi',
      summary: 'The same without a body.',
      tags: ['Health'],
      security: OPEN,
      responses: {
        200: { description: 'OpenAPI 3.1.', headers: headersOf('ETag', 'Cache-Control', 'X-Content-Type-Options') },
        304: NOT_MODIFIED,
      },
    },
  },
}
