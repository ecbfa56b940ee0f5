import { ACTIONS, type ManageAction, REFUSED_STATUSES } from '../manage/index.ts'
import type { OpenApiOptions } from './open-api.ts'
import { MODEL_PATHS, MODEL_SCHEMAS } from './open-api-models.ts'
import {
  answer,
  HEADERS,
  type JsonSchema,
  type Operation,
  openaiError,
  type PathItem,
  plainError,
  refTo,
  refusals,
  SECURED,
  SECURITY_SCHEMES,
  schemaOf,
} from './open-api-parts.ts'
import { READ_PATHS, READ_SCHEMAS } from './open-api-reads.ts'

const VERSION = '0.1.0'

/**
 * The OpenAPI 3.1 document of all that is served. What the manage API takes and gives is made from the schemas by which its actions are
 * checked. No secret and no setting is in it: it is the same for each installation of a version.
 */
export function openApiDocument({ base }: OpenApiOptions) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tollgate',
      version: VERSION,
      summary: 'An LLM gateway inside the Azure Function app.',
      description: 'Consumer keys, exact limits, a completion cache.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: base }],
    security: SECURED,
    tags: [{ name: 'Models' }, { name: 'Usage' }, { name: 'Manage' }, { name: 'Health' }],
    paths: { ...MODEL_PATHS, ...READ_PATHS, ...managePaths(ACTIONS) },
    components: {
      securitySchemes: SECURITY_SCHEMES,
      headers: HEADERS,
      schemas: { Error: schemaOf(plainError), OpenAIError: schemaOf(openaiError), ...MODEL_SCHEMAS, ...READ_SCHEMAS },
    },
  }
}

function managePaths(actions: readonly ManageAction[]): Readonly<Record<string, PathItem>> {
  const paths: Record<string, Record<string, Operation>> = {}
  for (const action of actions) {
    const item = paths[`/manage${action.path}`] ?? {}
    item[action.method.toLowerCase()] = operationOf(action)
    paths[`/manage${action.path}`] = item
  }
  return paths
}

const NO_STORE = ['Cache-Control', 'X-Content-Type-Options']

function operationOf({
  id,
  summary,
  method,
  path,
  input,
  output,
  refuses = REFUSED_STATUSES,
}: ManageAction): Operation {
  const { properties = {}, required = [] } = schemaOf(input) as {
    readonly properties?: Readonly<Record<string, JsonSchema>>
    readonly required?: readonly string[]
  }
  const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name = '']) => name)
  const others = Object.entries(properties).filter(([name]) => !inPath.includes(name))
  const isRead = method === 'GET'
  const parameter = (name: string, place: 'path' | 'query') => {
    const { description, ...schema } = properties[name] ?? {}
    return {
      name,
      in: place,
      required: place === 'path' || required.includes(name),
      ...(description !== undefined && { description }),
      schema,
    }
  }
  const body = {
    type: 'object',
    properties: Object.fromEntries(others),
    ...(others.some(([name]) => required.includes(name)) && {
      required: required.filter((name) => !inPath.includes(name)),
    }),
    additionalProperties: false,
  }
  const statuses = [
    ...[400, 401, 403, 429, 500, 503],
    ...refuses,
    ...(inPath.length > 0 ? [404] : []),
    ...(isRead ? [] : [413, 415]),
  ]
  return {
    operationId: id,
    summary,
    tags: ['Manage'],
    description: isRead
      ? 'A key of scope `read` or `admin`.'
      : 'A key of scope `admin`. It is written down before it is done.',
    security: SECURED,
    parameters: [
      ...inPath.map((name) => parameter(name, 'path')),
      ...(isRead ? others.map(([name]) => parameter(name, 'query')) : []),
    ],
    ...(!isRead && {
      requestBody: { required: 'required' in body, content: { 'application/json': { schema: body } } },
    }),
    responses: {
      200: answer('Done.', schemaOf(output, 'output'), ...NO_STORE),
      ...refusals(refTo('schemas', 'Error'), [...new Set(statuses)].toSorted(), ...NO_STORE),
    },
  }
}
