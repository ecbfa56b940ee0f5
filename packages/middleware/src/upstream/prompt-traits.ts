import type { Call } from '../operations/index.ts'

/** What rules may look at in a request. Each trait is found when it is first asked for, in one pass over the body, and kept. */
export interface PromptTraits {
  /** Estimated tokens of the prompt. */
  tokens(): number
  /** Messages; 0 where the operation has none. */
  turns(): number
  hasCode(): boolean
  offersTools(): boolean
  asksForSchema(): boolean
  /** A header's value, in lower case; `undefined` where it was not sent. */
  header(name: string): string | undefined
}

export function promptTraits({ operation, body, headers }: Pick<Call, 'operation' | 'body' | 'headers'>): PromptTraits {
  const { conversation } = operation
  let tokens: number | undefined
  let hasCode: boolean | undefined
  return {
    tokens() {
      tokens ??= operation.estimatedInput(body)
      return tokens
    },
    turns: () => conversation?.turns(body) ?? 0,
    hasCode() {
      hasCode ??= conversation !== undefined && someHasFence(conversation.texts(body))
      return hasCode
    },
    offersTools: () => (conversation?.tools(body).length ?? 0) > 0,
    asksForSchema: () => conversation?.hasSchema(body) ?? false,
    header: (name) => headers.get(name)?.trim().toLowerCase(),
  }
}

function someHasFence(texts: Iterable<string>): boolean {
  for (const text of texts) if (hasFence(text)) return true
  return false
}

/** The most spaces before a fence, as CommonMark has it. */
const MOST_INDENT = 3

/** Whether a line begins with a fence of code: three backticks, after three spaces at the most. */
function hasFence(text: string): boolean {
  for (let at = text.indexOf('```'); at >= 0; at = text.indexOf('```', at + 1)) {
    let before = at - 1
    while (before >= at - MOST_INDENT && text[before] === ' ') before -= 1
    if (before < 0 || text[before] === '\n') return true
  }
  return false
}
