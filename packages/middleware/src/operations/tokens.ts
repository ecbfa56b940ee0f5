import { isWritten, type Tokens, tokensRead, tokensWritten, type Usage } from '../pipeline/index.ts'

/** All tokens that were read, or written, and how many of them are of a kind of their own. */
export interface Told {
  readonly total: number
  readonly parts: Tokens
}

/**
 * Tokens by disjoint kinds, of totals and their parts: each part is taken out of its total, and what is left is `input` and
 * `output`. Where parts are told that are more than their total, they count as far as it goes, and cached ones last, since
 * they are the cheap ones.
 */
export function tokensOf(read: Told, written: Told): Tokens {
  const tokens: Record<string, number> = { input: 0, cachedInput: 0, output: 0 }
  let left = read.total
  for (const kind in read.parts) if (kind !== 'cachedInput') left -= take(kind, read.parts, left, tokens)
  left -= take('cachedInput', read.parts, left, tokens)
  tokens.input = left
  left = written.total
  for (const kind in written.parts) left -= take(kind, written.parts, left, tokens)
  tokens.output = left
  return tokens
}

function take(kind: string, parts: Tokens, left: number, to: Record<string, number>): number {
  const part = parts[kind]
  if (part === undefined) return 0
  const taken = Math.min(part, left)
  to[kind] = taken
  return taken
}

/** The totals of tokens, and their parts. */
export function toldOf(tokens: Tokens): { readonly read: Told; readonly written: Told } {
  const parts: { read: Record<string, number>; written: Record<string, number> } = { read: {}, written: {} }
  for (const kind in tokens) {
    if (kind === 'input' || kind === 'output') continue
    parts[isWritten(kind) ? 'written' : 'read'][kind] = tokens[kind] ?? 0
  }
  return {
    read: { total: tokensRead(tokens), parts: parts.read },
    written: { total: tokensWritten(tokens), parts: parts.written },
  }
}

/** Of two usages of one call the higher of each total, and of each part; of the rest the later that says something. */
export function highest(before: Usage | undefined, after: Usage): Usage {
  if (before === undefined) return after
  const [a, b] = [toldOf(before.tokens), toldOf(after.tokens)]
  const reasoning = Math.max(before.reasoning ?? 0, after.reasoning ?? 0)
  const tokens = tokensOf(highestOf(a.read, b.read), highestOf(a.written, b.written))
  const toolCalls = mostOf(before.toolCalls, after.toolCalls)
  return { ...before, ...after, tokens, ...(reasoning > 0 ? { reasoning } : {}), ...(toolCalls && { toolCalls }) }
}

function highestOf(a: Told, b: Told): Told {
  return { total: Math.max(a.total, b.total), parts: mostOf(a.parts, b.parts) ?? {} }
}

type Counts = Readonly<Partial<Record<string, number>>>

function mostOf(a: Counts | undefined, b: Counts | undefined): Readonly<Record<string, number>> | undefined {
  if (a === undefined && b === undefined) return undefined
  const most: Record<string, number> = {}
  for (const counts of [a, b]) for (const name in counts) most[name] = Math.max(most[name] ?? 0, counts[name] ?? 0)
  return most
}

/** The same tokens, but no more of each side than this; and no more of a part than its side. */
export function atMost(tokens: Tokens, most: { readonly read: number; readonly written: number }): Tokens {
  const { read, written } = toldOf(tokens)
  if (read.total <= most.read && written.total <= most.written) return tokens
  return tokensOf(
    { ...read, total: Math.min(read.total, most.read) },
    { ...written, total: Math.min(written.total, most.written) },
  )
}
