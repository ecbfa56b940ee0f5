import { isJson, type Json, type JsonFlaw } from '../operations/index.ts'
import type { Refusal } from '../pipeline/index.ts'

/* What requests of OpenAI's and Azure OpenAI's clients have in common, whatever they ask for. */

/** 400, naming the field. */
export function invalidField(field: string, what: string): Refusal {
  return { kind: 'refusal', code: 'invalid_request', status: 400, param: field, message: `'${field}' must be ${what}` }
}

/** The services take `null` for a field that is not there. */
export function isLeftOut(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

/** What is wrong with the name of a model. */
export function flawedModel(model: unknown): Refusal | undefined {
  if (isLeftOut(model) || (typeof model === 'string' && model !== '')) return undefined
  return invalidField('model', 'the name of a model')
}

/** What is wrong with the fields that ask for a stream. */
export function flawedStream({ stream, stream_options }: Json): Refusal | undefined {
  if (!isLeftOut(stream) && typeof stream !== 'boolean') return invalidField('stream', 'true or false')
  if (!isLeftOut(stream_options) && !isJson(stream_options)) return invalidField('stream_options', 'an object')
  return undefined
}

/** Of a body that goes on as it came, and that a service may read otherwise. */
export function flawed({ kind, path }: JsonFlaw): Refusal {
  const message =
    kind === 'repeated'
      ? `'${path}' stands twice in the request, and only one of them would be read. Keep one.`
      : `'${path}' is nested deeper than 128 levels`
  return { kind: 'refusal', code: 'invalid_request', status: 400, param: path, message }
}

/** The deployment that a path names: `…/deployments/{deployment}/…`; `undefined` where it names none. */
export function deploymentIn({ pathname }: URL): string | undefined {
  const [, name] = /\/deployments\/+([^/]+)\//i.exec(pathname) ?? []
  if (name === undefined) return undefined
  try {
    return decodeURIComponent(name)
  } catch {
    // A name that no policy has.
    return name
  }
}
