import { isJson, type Json } from '../operations/index.ts'
import { PRICED_FIELD_NAMES, type Refusal } from '../pipeline/index.ts'
import { isLeftOut } from './openai-request.ts'

/*
 * Names of fields that some services take for one that the gateway goes by: the same in other letters (services in Go, C# and by
 * protobuf's JSON read `Max_Tokens` or `maxTokens` so), or their own word for it. What bounds or prices a request must be what the
 * service reads.
 */

/** Fields that decide about a request, on one surface or another: who serves it, how long its answer may be, what it costs. */
const DECIDING: readonly string[] = [
  ...['model', 'messages', 'input', 'instructions', 'prompt', 'tools', 'functions', 'stream', 'stream_options'],
  ...['n', 'max_tokens', 'max_completion_tokens', 'max_output_tokens', 'max_tool_calls', 'temperature'],
  ...['service_tier', 'web_search_options', 'modalities', 'audio', 'prediction'],
  ...['prompt_cache_options', 'prompt_cache_breakpoint', 'cache_control'],
  ...['store', 'previous_response_id', 'conversation', 'background'],
  ...PRICED_FIELD_NAMES,
]

/** The same of a message or an item of the input. */
const DECIDING_IN_ITEMS: ReadonlySet<string> = new Set(['role', 'type', 'content', 'output', 'audio', 'tool_calls'])

/** Words for the bound of an answer, beside those of a surface's own: vLLM's and TGI's, llama.cpp's, Ollama's, and older APIs'. */
const OTHER_BOUNDS: readonly string[] = [
  ...['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'max_new_tokens', 'max_length', 'max_gen_len'],
  ...['max_tokens_to_sample', 'max_gen_toks', 'n_predict', 'num_predict'],
]
/** Words for how many answers are made. */
const OTHER_CHOICES: readonly string[] = ['n', 'best_of', 'num_generations', 'num_return_sequences', 'candidate_count']

/** The fields of a surface that say how long an answer may be, and how many there are. The one to send comes first. */
export interface AnswerFields {
  readonly bounds: readonly string[]
  readonly choices: readonly string[]
}

/**
 * What refuses, with 400, a body with a field that a service could take for one that is checked.
 *
 * @param answer `undefined` where nothing is generated
 */
export function fieldNames(answer?: AnswerFields): (body: Json) => Refusal | undefined {
  const others = new Map<string, string>()
  if (answer !== undefined) {
    for (const name of OTHER_CHOICES) if (!answer.choices.includes(name)) others.set(name, insteadOf(answer.choices))
    for (const name of OTHER_BOUNDS) if (!answer.bounds.includes(name)) others.set(name, insteadOf(answer.bounds))
  }
  const known = new Set(DECIDING.filter((name) => !others.has(name)))
  const byLetters = new Map([...known, ...others.keys()].map((name) => [lettersOf(name), name]))

  return function fieldNames(body) {
    for (const field in body) {
      if (known.has(field)) continue
      // One answer is what there is anyway.
      if (body[field] === 1 && OTHER_CHOICES.includes(field)) continue
      const name = byLetters.get(lettersOf(field))
      if (name !== undefined && !isLeftOut(body[field])) return refusal(field, others.get(name) ?? `Write '${name}'.`)
    }
    // LiteLLM's proxy takes its fields for the request's own.
    const { extra_body: more } = body
    const within = isJson(more)
      ? Object.keys(more).find((field) => byLetters.has(lettersOf(field)) && !isOff(more[field]))
      : undefined
    if (within !== undefined) return refusal(`extra_body.${within}`, 'Write it outside of it.')
    return answer && (misnamedItem('messages', body.messages) ?? misnamedItem('input', body.input))
  }
}

const itemsByLetters = new Map(Array.from(DECIDING_IN_ITEMS, (name) => [lettersOf(name), name]))

function misnamedItem(list: string, items: unknown): Refusal | undefined {
  for (const [index, item] of Array.isArray(items) ? items.entries() : []) {
    for (const field in isJson(item) ? item : {}) {
      const name = DECIDING_IN_ITEMS.has(field) ? undefined : itemsByLetters.get(lettersOf(field))
      if (name !== undefined) return refusal(`${list}[${index}].${field}`, `Write '${name}'.`)
    }
  }
  return undefined
}

function isOff(value: unknown): boolean {
  return isLeftOut(value) || value === false
}

function insteadOf([field]: readonly string[]): string {
  return field === undefined ? 'Leave it out.' : `Send '${field}' instead.`
}

/** By which readers that are not strict about names tell them apart: `ſ` is an `s` to some, and the Kelvin sign a `k`. */
function lettersOf(name: string): string {
  return name.toUpperCase().toLowerCase().replaceAll('_', '').replaceAll('-', '')
}

function refusal(field: string, instead: string): Refusal {
  const shown = field.slice(0, 64)
  const message = `A service could take '${shown}' for a field that decides what the request may take. ${instead}`
  return { kind: 'refusal', code: 'invalid_request', status: 400, param: shown, message }
}
