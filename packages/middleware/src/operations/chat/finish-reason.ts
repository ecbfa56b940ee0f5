/** What a choice's `finish_reason` says: that it has ended, perhaps (a word that we don't know), or nothing. */
export type Finish = 'ended' | 'unknown' | undefined

/** As services name the end of a choice, in lower case. */
const KNOWN: ReadonlySet<string> = new Set([
  // OpenAI, and most who speak its protocol.
  'stop',
  'length',
  'tool_calls',
  'function_call',
  'content_filter',
  // Anthropic's, by servers that pass them on.
  'end_turn',
  'max_tokens',
  'stop_sequence',
  'tool_use',
  'pause_turn',
  'refusal',
  'model_context_window_exceeded',
  // Mistral, Hugging Face, Together, vLLM, DeepSeek, Zhipu, Bedrock.
  'model_length',
  'error',
  'eos',
  'eos_token',
  'abort',
  'insufficient_system_resource',
  'sensitive',
  'network_error',
  'guardrail_intervened',
  'content_filtered',
  // Google and Cohere, in upper case.
  'complete',
  'tool_call',
  'safety',
  'recitation',
  'language',
  'other',
  'blocklist',
  'prohibited_content',
  'spii',
  'malformed_function_call',
  'error_toxic',
])

/** Words for "not yet", by servers that fill the field into each chunk. */
const NOTHING: ReadonlySet<string> = new Set([
  '',
  'null',
  'none',
  'nil',
  'undefined',
  'nan',
  'n/a',
  'na',
  'false',
  'unspecified',
  'finish_reason_unspecified',
  'in_progress',
  'not_finished',
  'unfinished',
  'incomplete',
  'continue',
  'running',
  'streaming',
  'generating',
  'pending',
])

export function finishOf(reason: unknown): Finish {
  if (typeof reason !== 'string') return undefined
  const word = reason.trim().toLowerCase()
  if (KNOWN.has(word)) return 'ended'
  return NOTHING.has(word) ? undefined : 'unknown'
}
