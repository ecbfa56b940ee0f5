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
  const { input, tools } = body
  for (const [index, tool] of Array.isArray(tools) ? tools.entries() : []) {
    const at = isJson(tool) ? statefulIn(tool) : undefined
    if (at !== undefined) return { param: `tools[${index}].${at}`, message: KEPT_BY_TOOL }
  }
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
  'An item that the service keeps can’t be referred to: responses are served without state. Send the item itself.'
const THOUGHT =
  "A reasoning item without its 'encrypted_content' refers to one that the service keeps. " +
  'Ask with \'include\': ["reasoning.encrypted_content"] and send the item whole, or leave it out.'
const FILE = "A file that the service keeps can't be referred to. Send its text."

const KEPT_BY_TOOL =
  "A container, file or vector store that the service keeps can't be referred to: it has no owner there but the gateway's key. " +
  'Leave it out; of the code interpreter send \'container\': {"type": "auto"}.'

/** The field by which a tool leans on something that the service keeps. */
function statefulIn({ container, vector_store_ids }: Json): string | undefined {
  if (vector_store_ids !== undefined) return 'vector_store_ids'
  if (container === undefined || container === null) return undefined
  if (!isJson(container) || container.type !== 'auto') return 'container'
  const { file_ids } = container
  const hasNone = file_ids === undefined || file_ids === null || (Array.isArray(file_ids) && file_ids.length === 0)
  return hasNone ? undefined : 'container.file_ids'
}

/** Items that are known to the service by their ids alone. */
const REFERRING: ReadonlySet<unknown> = new Set(['item_reference', 'image_generation_call', 'mcp_approval_response'])

/** `at` is the place within the item. */
function statefulItem(item: Json): { readonly at: string; readonly message: string } | undefined {
  const { type, role, id } = item
  if (REFERRING.has(type) || ((type ?? role ?? undefined) === undefined && typeof id === 'string')) {
    return { at: '', message: REFERENCE }
  }
  if (type === 'reasoning') return isWholeThought(item) ? undefined : { at: '', message: THOUGHT }
  for (const name of ['content', 'output'] as const) {
    const parts = item[name]
    if (isJson(parts) && typeof parts.file_id === 'string') return { at: `.${name}.file_id`, message: FILE }
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
