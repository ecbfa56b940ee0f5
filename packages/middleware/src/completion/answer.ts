/** As much of OpenAI's chat completion as the gateway itself reads. */
export interface ChatAnswer {
  readonly model?: unknown
  readonly choices: readonly ChatChoice[]
  readonly usage?: ChatUsage
}

/** As a model tells it: nothing in it is checked. */
export interface ChatUsage {
  readonly prompt_tokens?: number
  readonly completion_tokens?: number
  readonly total_tokens?: number
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
}

export interface ChatChoice {
  readonly message: { readonly content?: unknown }
  readonly finish_reason?: unknown
}

/** The chat completion in a 200's text; `undefined` if there is none: bad JSON, an error body, no choices. */
export function parseAnswer(text: string): ChatAnswer | undefined {
  let answer: Partial<ChatAnswer> | null
  try {
    answer = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof answer !== 'object' || answer === null || !Array.isArray(answer.choices)) return undefined
  const complete =
    answer.choices.length > 0 &&
    answer.choices.every((choice) => typeof choice?.message === 'object' && choice.message !== null)
  return complete ? (answer as ChatAnswer) : undefined
}
