import fc from 'fast-check'
import type { Document, Schema } from './described.ts'

/* Requests that are made from an OpenAPI document: as it says, nearly so, and not at all. */

export interface FuzzedRequest {
  readonly path: string
  readonly method: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
  /** `right`: of the scope that is needed. `other`: of another. Else what is sent for a key. */
  readonly credential: 'right' | 'other' | 'none' | (string & {})
}

/** What nobody means to send. */
const HOSTILE = [
  '',
  ' ',
  '\u0000',
  '\r\nx-injected: 1',
  "' or PartitionKey ne '",
  '%00',
  '%252e%252e%252f',
  '../../etc/passwd',
  '..%2f..%2f',
  '$'.concat('{jndi:ldap://127.0.0.1/a}'),
  '<script>alert(1)</script>',
  '__proto__',
  'constructor',
  'true',
  'null',
  '-1',
  '1e309',
  '9007199254740993',
  '0x10',
  'NaN',
  '𝒳 é ‮ \u{1f600}',
  '\ud800',
  'a'.repeat(3_000),
]
const hostile = fc.constantFrom(...HOSTILE)
const strange = fc.oneof(
  hostile,
  fc.string({ unit: 'binary' }),
  fc.double(),
  fc.constantFrom(Number.MAX_VALUE, -0, 1e21, -1, 2 ** 53, null, true, [], {}, [[[[]]]]),
  fc.jsonValue({ maxDepth: 3 }),
)

/** Values as a schema says, or, now and then, others. */
function valuesOf(schema: Schema, document: Document, depth = 0): fc.Arbitrary<unknown> {
  const within = (each: Schema) => valuesOf(each, document, depth + 1)
  const {
    $ref,
    anyOf,
    type,
    properties,
    items,
    additionalProperties,
    required = [],
  } = schema as {
    readonly $ref?: string
    readonly anyOf?: readonly Schema[]
    readonly type?: string
    readonly properties?: Readonly<Record<string, Schema>>
    readonly items?: Schema
    readonly additionalProperties?: unknown
    readonly required?: readonly string[]
  }
  if ($ref !== undefined) return within(document.components.schemas[$ref.split('/').at(-1) ?? ''] ?? {})
  if (anyOf !== undefined) return fc.oneof(...anyOf.map(within))
  const right = (): fc.Arbitrary<unknown> => {
    if ('const' in schema) return fc.constant(schema.const)
    if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum)
    switch (type) {
      case 'string':
        return textOf(schema)
      case 'integer':
        return fc.integer({ min: numberOr(schema.minimum, -10), max: numberOr(schema.maximum, 10_000) })
      case 'number':
        return fc.double({ min: numberOr(schema.minimum, -10), max: numberOr(schema.maximum, 10), noNaN: true })
      case 'boolean':
        return fc.boolean()
      case 'null':
        return fc.constant(null)
      case 'array':
        return fc.array(within(items ?? {}), { minLength: numberOr(schema.minItems, 0), maxLength: 4 })
      case 'object': {
        const fields = fc.record(
          Object.fromEntries(Object.entries(properties ?? {}).map(([name, each]) => [name, within(each)])),
          { requiredKeys: [...required] },
        )
        if (depth > 2 || additionalProperties === false) return fields
        const more = fc.dictionary(fc.constantFrom('role', 'content', 'type', 'temperature', 'x'), fc.string(), {
          maxKeys: 2,
        })
        return fc.tuple(more, fields).map(([extra, own]) => ({ ...extra, ...own }))
      }
      default:
        return fc.jsonValue({ maxDepth: 2 })
    }
  }
  return fc.oneof({ weight: 12, arbitrary: right() }, { weight: 1, arbitrary: strange })
}

function textOf({ pattern, minLength, maxLength }: Schema): fc.Arbitrary<string> {
  const [min, max] = [numberOr(minLength, 0), numberOr(maxLength, 40)]
  if (typeof pattern === 'string') {
    return fc.stringMatching(new RegExp(pattern), { size: 'small' }).map((text) => text.slice(0, 200))
  }
  const names = ['default', 'vectors', 'gold', 'ample', 'generate', '1h', '2026-01-01', 'requests']
  return fc.oneof(
    fc.constantFrom(...names),
    fc.string({ unit: 'grapheme', minLength: min, maxLength: Math.max(min, Math.min(max, 40)) }),
  )
}

function numberOr(value: unknown, other: number): number {
  return typeof value === 'number' && Math.abs(value) < 2 ** 52 ? value : other
}

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']
const TYPES = [
  'text/plain',
  'application/x-www-form-urlencoded',
  'application/json; charset=latin1',
  'multipart/form-data',
  '*/*',
  '',
]

export function anyRequest(document: Document, path: string, method: string): fc.Arbitrary<FuzzedRequest> {
  const { parameters = [], requestBody } = document.paths[path]?.[method] ?? {}
  const place = (of: 'path' | 'query' | 'header') => parameters.filter((each) => each.in === of)
  const texts = (of: 'path' | 'query' | 'header', keep = false) =>
    fc.record(
      Object.fromEntries(place(of).map(({ name, schema }) => [name, valuesOf(schema, document).map(textOfValue)])),
      { requiredKeys: keep ? place(of).map(({ name }) => name) : [] },
    )
  const schema = requestBody?.content['application/json'].schema
  const json = valuesOf(schema ?? {}, document).map((value) => JSON.stringify(value))
  const body: fc.Arbitrary<string | Uint8Array> = fc.oneof(
    { weight: 16, arbitrary: json },
    { weight: 1, arbitrary: json.map((text) => text.slice(0, -1)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
    { weight: 1, arbitrary: fc.constant(`${'{"a":'.repeat(500)}1${'}'.repeat(500)}`) },
    { weight: 1, arbitrary: fc.constant('') },
  )
  const type = fc.oneof({ weight: 14, arbitrary: fc.constant('application/json') }, fc.constantFrom(...TYPES))
  const credential = fc.oneof(
    { weight: 14, arbitrary: fc.constant('right') },
    fc.constantFrom('other', 'none'),
    fc.constantFrom('nonsense', 'tg_', `tg_${'a'.repeat(12)}_${'b'.repeat(49)}`),
  )
  const verb = fc.oneof({ weight: 12, arbitrary: fc.constant(method.toUpperCase()) }, fc.constantFrom(...METHODS))
  const more = fc.oneof(
    { weight: 12, arbitrary: fc.constant({}) },
    fc.dictionary(fc.string({ maxLength: 12 }), hostile, { maxKeys: 2 }),
  )
  return fc
    .record({
      fields: texts('path', true),
      query: texts('query'),
      more,
      headers: texts('header'),
      body,
      type,
      credential,
      verb,
    })
    .filter(({ fields }) => Object.values(fields).every((text) => text !== '' && !/^\.{1,2}$/.test(text)))
    .map(({ fields, query, more: others, headers, body: sent, type: contentType, credential: key, verb: sentBy }) => {
      const filled = path.replace(/\{(\w+)\}/g, (_, name: string) =>
        encodeURIComponent((fields[name] ?? '').toWellFormed()),
      )
      const search = new URLSearchParams({ ...query, ...others }).toString()
      const hasBody = sentBy !== 'GET' && sentBy !== 'HEAD'
      const sendable = Object.entries(headers).filter(([, text]) => /^[\x20-\x7e]*$/.test(text))
      return {
        path: `${filled}${search === '' ? '' : `?${search}`}`,
        method: sentBy,
        headers: {
          ...Object.fromEntries(sendable),
          ...(hasBody && contentType !== '' && { 'content-type': contentType }),
        },
        credential: key,
        ...(hasBody && { body: sent }),
      }
    })
}

function textOfValue(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}
