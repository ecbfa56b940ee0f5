import * as z from 'zod'
import { HOP_BY_HOP_HEADERS } from '../pipeline/index.ts'
import { type FromEnv, fromEnv } from './from-env.ts'
import { type TargetContext, TargetFault } from './target-kind.ts'

/* Headers that a target is asked with, each a secret: of a gateway before a model, of a Function app, of an API key. */

export const secretHeaders = z
  .record(
    z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,64}$/, 'must be the name of a header, such as x-functions-key'),
    fromEnv,
  )
  .optional()
  .describe('Headers of each request, from environment variables: {x-functions-key: {env: NAME}}.')

export type SecretHeaders = z.infer<typeof secretHeaders>

/** What a request is framed by. */
const OF_THE_MESSAGE: readonly string[] = ['host', 'content-length', 'content-type', 'content-encoding', 'expect']
/** What the gateway says of itself and of the request. */
const OURS: readonly string[] = [
  'accept',
  'accept-encoding',
  'baggage',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-request-id',
]

/** Visible ASCII, with blanks between. */
const VALUE = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/

/**
 * @param own names, in lower case, of headers that the kind itself sets; a trailing `*` stands for any rest
 * @returns names in lower case and values, by turns
 * @throws TargetFault for a header that is another's to set, and for a value that no header has. The value is not told.
 */
export function headersOf(headers: SecretHeaders, own: readonly string[], context: TargetContext): readonly string[] {
  const pairs: string[] = []
  for (const [written, value] of Object.entries(headers ?? {})) {
    const name = written.toLowerCase()
    const field = `headers.${written}`
    if (pairs.some((other, at) => at % 2 === 0 && other === name))
      throw new TargetFault(`${field}: stands there twice.`)
    if ([...OF_THE_MESSAGE, ...HOP_BY_HOP_HEADERS, ...OURS].includes(name)) {
      throw new TargetFault(`${field}: is a header that the gateway sets itself. Leave it out.`)
    }
    if (own.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each))) {
      throw new TargetFault(
        `${field}: is set by this kind of target itself, by its key or its signature. Leave it out.`,
      )
    }
    pairs.push(name, headerSecret(value, field, context))
  }
  return pairs
}

/** A secret that goes into a header. @throws TargetFault where it can't; the value is not told */
export function headerSecret(value: FromEnv, field: string, context: TargetContext): string {
  return inHeader(context.secret(value, field), value, field)
}

/** The same of one that need not be there. @throws TargetFault where it is there, and can't go into a header */
export function headerSecretIfSet(value: FromEnv, field: string, context: TargetContext): string | undefined {
  const secret = context.secretIfSet(value, field)
  return secret === undefined ? undefined : inHeader(secret, value, field)
}

function inHeader(secret: string, value: FromEnv, field: string): string {
  if (VALUE.test(secret)) return secret
  throw new TargetFault(
    `${field}: ${value.env} holds a line break, a blank at its end, or another character that no header has. Correct it.`,
  )
}
