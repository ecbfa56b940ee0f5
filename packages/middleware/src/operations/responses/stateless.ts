import { isJson, type Json } from '../body.ts'

/** A field by which a request makes, or leans on, something that the service keeps. */
export interface StatefulField {
  /** Where it stands: `store`, `input[2]`. */
  readonly param: string
  /** Why it is not served, and what to send instead. */
  readonly message: string
}

/**
 * The first field of a request for a response that makes it one with state; `undefined` where it is complete in itself. What the
 * service keeps has no owner there but the gateway's one key: a caller could go on with another's conversation, and what it holds
 * has no bound that the body tells.
 */
export function statefulField(body: Json): StatefulField | undefined {
  if (body.store !== false) return STORE
  for (const [param, message] of Object.entries(KEPT)) {
    const value = body[param]
    if (value !== undefined && value !== null && value !== false) return { param, message }
  }
  const { input } = body
  if (!Array.isArray(input)) return undefined
  for (const [index, item] of input.entries()) {
    const found = isJson(item) ? statefulItem(item) : undefined
    if (found !== undefined) return { param: `input[${index}]${found.at}`, message: found.message }
  }
  return undefined
}

const STORE: StatefulField = {
  param: 'store',
  message:
    "'store' must be false: responses are served without state, and the service keeps one unless it is told not to. " +
    "Send 'store': false.",
}

const KEPT: Readonly<Record<string, string>> = {
  previous_response_id:
    "'previous_response_id' is not supported: responses are served without state. Send the whole conversation in 'input'.",
  conversation:
    "'conversation' is not supported: responses are served without state. Send the whole conversation in 'input'.",
  background:
    "'background' is not supported: responses are served without state. Leave it out, and stream long answers.",
  prompt:
    "'prompt' is not supported: a stored prompt's text can't be seen here. Send it in 'instructions' and 'input'.",
}

const REFERENCE =
  'an item that the service keeps can’t be referred to: responses are served without state. Send the item itself.'
const THOUGHT =
  "a reasoning item without its 'encrypted_content' refers to one that the service keeps. " +
  'Ask with \'include\': ["reasoning.encrypted_content"] and send the item whole, or leave it out.'
const FILE = "a file that the service keeps can't be referred to. Send its text."

/** `at` is the place within the item. */
function statefulItem(item: Json): { readonly at: string; readonly message: string } | undefined {
  const { type, role, id } = item
  if (type === 'item_reference' || ((type ?? role ?? undefined) === undefined && typeof id === 'string')) {
    return { at: '', message: REFERENCE }
  }
  if (type === 'reasoning') return isWholeThought(item) ? undefined : { at: '', message: THOUGHT }
  for (const name of ['content', 'output'] as const) {
    const parts = item[name]
    const index = Array.isArray(parts)
      ? parts.findIndex((part) => isJson(part) && typeof part.file_id === 'string')
      : -1
    if (index >= 0) return { at: `.${name}[${index}].file_id`, message: FILE }
  }
  return undefined
}

/** One with an id is looked up, unless it holds what was thought: encrypted, or as models tell it that hide nothing. */
function isWholeThought({ id, encrypted_content, content }: Json): boolean {
  if (typeof id !== 'string') return true
  if (typeof encrypted_content === 'string' && encrypted_content !== '') return true
  return Array.isArray(content) && content.length > 0
}
