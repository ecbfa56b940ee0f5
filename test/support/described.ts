import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'

/* What an OpenAPI document says of an answer, held against a real one. */

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>
    readonly responses: Readonly<Record<string, DescribedAnswer>>
  }
  readonly [field: string]: unknown
}

export type Schema = Readonly<Record<string, unknown>>

interface Named {
  readonly $ref: string
}

export interface DescribedOperation {
  readonly operationId: string
  readonly tags: readonly string[]
  readonly parameters?: readonly {
    readonly name: string
    readonly in: 'path' | 'query' | 'header'
    readonly required?: boolean
    readonly schema: Schema
  }[]
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } }
  readonly responses: Readonly<Record<string, DescribedAnswer | Named>>
}

interface DescribedAnswer {
  readonly headers?: Readonly<Record<string, unknown>>
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>
}

export interface GivenAnswer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** Which documented header must be there at a status. */
const NEEDED: Readonly<Record<number, readonly string[]>> = {
  401: ['www-authenticate'],
  405: ['allow'],
  429: ['retry-after'],
  503: ['retry-after'],
}

export function describedBy(document: Document) {
  const ajv = new Ajv2020({ strict: false, validateFormats: true, allErrors: false })
  formats.default(ajv)
  ajv.addSchema(document, 'document')
  const compiled = new Map<string, ValidateFunction>()

  function validator(pointer: readonly string[]): ValidateFunction {
    const path = pointer.map((each) => encodeURIComponent(each.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')
    const known = compiled.get(path) ?? ajv.compile({ $ref: `document#/${path}` })
    compiled.set(path, known)
    return known
  }

  /** An answer, and where it stands: in its operation, or among those that several have. */
  function answerOf(path: string, method: string, status: string) {
    const described = document.paths[path]?.[method]?.responses[status]
    if (described === undefined || !('$ref' in described)) {
      return { described, pointer: ['paths', path, method, 'responses', status] }
    }
    const name = described.$ref.replace('#/components/responses/', '')
    return { described: document.components.responses[name], pointer: ['components', 'responses', name] }
  }

  return {
    /** All schemas of the document, compiled. */
    compileAll(): number {
      const operations = Object.entries(document.paths).flatMap(([path, item]) =>
        Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
      )
      for (const { path, method, operation } of operations) {
        if (operation.requestBody !== undefined) {
          validator(['paths', path, method, 'requestBody', 'content', 'application/json', 'schema'])
        }
        for (const status of Object.keys(operation.responses)) {
          const { described, pointer } = answerOf(path, method, status)
          if (described === undefined) throw new Error(`${method} ${path}: nothing describes ${status}`)
          for (const type of Object.keys(described.content ?? {})) validator([...pointer, 'content', type, 'schema'])
        }
      }
      return compiled.size
    },

    /** What of an answer is not as it is described; `undefined` where all is. */
    faultOf(path: string, method: string, { status, headers, text }: GivenAnswer): string | undefined {
      const { described, pointer } = answerOf(path, method, String(status))
      if (described === undefined) return `status ${status} is not described: ${text.slice(0, 300)}`
      const missing = (NEEDED[status] ?? []).find((name) => !headers.has(name))
      if (missing !== undefined) return `status ${status} has no ${missing}`
      for (const name of headers.keys()) {
        const isDescribed = Object.keys(described.headers ?? {}).some((each) => each.toLowerCase() === name)
        if (!isDescribed && !OF_ANY.has(name)) return `status ${status} has a header that is not described: ${name}`
      }
      if (described.content === undefined) return text === '' ? undefined : `status ${status} has a body`
      const [type = ''] = (headers.get('content-type') ?? '').split(';')
      if (described.content[type] === undefined) return `status ${status} comes as '${type}'`
      if (type !== 'application/json') return undefined
      let value: unknown
      try {
        value = JSON.parse(text)
      } catch {
        return `status ${status} is no JSON: ${text.slice(0, 300)}`
      }
      const valid = validator([...pointer, 'content', type, 'schema'])
      return valid(value) ? undefined : `${ajv.errorsText(valid.errors)}: ${text.slice(0, 300)}`
    },
  }
}

/** Of the message and the connection, and what hosts add. */
const OF_ANY: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'date',
  'keep-alive',
  'server',
  'transfer-encoding',
])
