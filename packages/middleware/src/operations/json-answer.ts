import type { Usage } from '../pipeline/index.ts'
import { isJson, type Json } from './body.ts'
import { isWithinBounds } from './json-bounds.ts'
import type { Answer } from './operation.ts'

/** An answer that was parsed before, by its bytes: parsed again only when it is asked for. */
export function answerOf(bytes: Buffer, usage: Usage | undefined): Answer {
  return new JsonAnswer({ bytes }, usage)
}

/** An answer that was put together here: written only when its bytes are asked for. */
export function answerMade(json: Json, usage: Usage | undefined): Answer {
  return new JsonAnswer({ json }, usage)
}

/** An answer that has just been parsed. */
export function answerParsed(bytes: Buffer, json: Json, usage: Usage | undefined): Answer {
  return new JsonAnswer({ bytes, json }, usage)
}

class JsonAnswer implements Answer {
  readonly usage: Usage | undefined
  #bytes: Buffer | undefined
  #json: Json | undefined
  constructor({ bytes, json }: { readonly bytes?: Buffer; readonly json?: Json }, usage: Usage | undefined) {
    this.usage = usage
    this.#bytes = bytes
    this.#json = json
  }
  get bytes(): Buffer {
    this.#bytes ??= Buffer.from(JSON.stringify(this.#json))
    return this.#bytes
  }
  json(): Json {
    this.#json ??= JSON.parse(this.bytes.toString()) as Json
    return this.#json
  }
}

const NO_OBJECT: Json = {}

/**
 * The object that an answer's text is; one without fields where it is none, is bad JSON, or has more levels or values than an
 * answer has.
 *
 * @param maxValues 1,000,000 by default
 */
export function objectOf(text: string, maxValues?: number): Json {
  if (!isWithinBounds(text, maxValues)) return NO_OBJECT
  try {
    const value: unknown = JSON.parse(text)
    return isJson(value) ? value : NO_OBJECT
  } catch {
    return NO_OBJECT
  }
}
