/* What a healthy service says, in the languages that services are asked in. */

/** What a healthy call takes. */
export const USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }

export interface Wire {
  /** A plain answer's body. @param tier that served, where the language has a word for it */
  plain(content: string, tier?: string): string
  /** The events of a stream for these pieces of its text. */
  events(pieces: readonly string[]): string
  /** How a healthy stream ends. */
  ending(tier?: string): string
  /** An error with this code. */
  error(code: string): string
}

const event = (fields: object) => `data: ${JSON.stringify(fields)}\n\n`
const served = (tier: string | undefined) => (tier === undefined ? {} : { service_tier: tier })
const chunk = (fields: object) =>
  event({ id: 'a', object: 'chat.completion.chunk', created: 0, model: 'played', ...fields })
const choice = (delta: object, finish_reason: string | null) => ({ index: 0, delta, finish_reason })

export const OPENAI: Wire = {
  plain(content, tier) {
    const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }]
    const head = { id: 'a', object: 'chat.completion', created: 0, model: 'played' }
    return JSON.stringify({ ...head, choices, usage: USAGE, ...served(tier) })
  },
  events: (pieces) => pieces.map((content) => chunk({ choices: [choice({ content }, null)] })).join(''),
  ending: (tier) =>
    `${chunk({ choices: [choice({}, 'stop')] })}${chunk({ choices: [], usage: USAGE, ...served(tier) })}data: [DONE]\n\n`,
  error: (code) => JSON.stringify({ error: { message: 'no', type: 'server_error', code } }),
}

/** The contract of `POST /api/generate`. */
export const GENERATE: Wire = {
  plain: (completion) => JSON.stringify({ data: { completion, model: 'played', usage: USAGE }, status: 'success' }),
  events: (pieces) => pieces.map((completion) => event({ data: { completion }, status: 'streaming' })).join(''),
  ending: () => event({ data: { completion: '', model: 'played', usage: USAGE }, status: 'success' }),
  error: (code) => JSON.stringify({ error: 'no', code }),
}
