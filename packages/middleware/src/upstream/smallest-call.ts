import { isTimeout } from '../pipeline/index.ts'
import { outputFieldOf } from '../policy/index.ts'
import type { TargetSettings } from '../targets/index.ts'
import { callBounds } from './call-bounds.ts'
import { type CallProgress, ConnectionFailed, type Transport } from './transports/index.ts'

/** What became of the smallest call that a target can be asked. Its answer is not read. */
export type SmallestCall = { readonly url: string | undefined; readonly ms: number } & (
  | { readonly outcome: 'answered' }
  /** It answered with another status than a success. */
  | { readonly outcome: 'refused'; readonly status: number }
  | { readonly outcome: 'timeout' }
  /** The kind of target has no words for it: nothing was asked. */
  | { readonly outcome: 'not asked' }
  /** The code of the system, of TLS or ours; never a text. */
  | { readonly outcome: 'unreachable'; readonly code: string }
)

export interface SmallestCallOptions {
  /** The operation's; of a model that does not answer chat, `/embeddings` or `/responses`. */
  readonly path: string
  readonly signal: AbortSignal
  readonly timeoutMs: number
}

/** So many tokens at most does it read and write: what it may cost goes by them. */
export const SMALLEST_TOKENS = { input: 16, output: 16 }

const MESSAGES = [{ role: 'user', content: 'Hi' }]

/** What is asked, the smallest first: services differ in the field that bounds an answer, and in the least that it may say. */
function bodiesOf({ model }: TargetSettings, path: string): readonly object[] {
  if (path === '/embeddings') return [{ model, input: 'Hi' }]
  if (path === '/responses') return [{ model, input: 'Hi', max_output_tokens: SMALLEST_TOKENS.output, store: false }]
  const field = outputFieldOf(model) ?? 'max_tokens'
  const other = field === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens'
  return [
    { model, messages: MESSAGES, [field]: 1 },
    { model, messages: MESSAGES, [other]: SMALLEST_TOKENS.output },
  ]
}

/** Asks a target for the smallest answer that there is, which costs a few tokens: whether requests would be answered there. */
export async function smallestCall(
  transport: Transport,
  target: TargetSettings,
  { path, signal, timeoutMs }: SmallestCallOptions,
): Promise<SmallestCall> {
  const began = performance.now()
  const progress: CallProgress = {}
  const became = <Outcome extends object>(outcome: Outcome) => ({
    ...outcome,
    url: progress.url,
    ms: Math.round(performance.now() - began),
  })
  const bounds = callBounds(timeoutMs, signal)
  bounds.within(timeoutMs)
  try {
    await transport.prepare?.(target, { path })
    let status = 0
    for (const body of bodiesOf(target, path)) {
      const told = transport.translation?.(target, { path }, body as Readonly<Record<string, unknown>>)
      if (told !== undefined && 'cannot' in told) return became({ outcome: 'not asked' } as const)
      const bytes = Buffer.from(JSON.stringify(told?.body ?? body))
      const answer = await transport.send(target, { path }, bytes, { signal: bounds.signal, progress })
      answer.body.cancel()
      status = answer.status
      // Anything else would be said to the next body, too.
      if (status !== 400 && status !== 422) break
    }
    const isAnswered = status >= 200 && status < 300
    return became(isAnswered ? ({ outcome: 'answered' } as const) : ({ outcome: 'refused', status } as const))
  } catch (error) {
    if (isTimeout(error) || (error instanceof ConnectionFailed && error.timedOut))
      return became({ outcome: 'timeout' } as const)
    if (error instanceof ConnectionFailed && error.notAllowed)
      return became({ outcome: 'unreachable', code: 'address_not_allowed' } as const)
    return became({ outcome: 'unreachable', code: codeOf(error) } as const)
  } finally {
    bounds.done()
  }
}

/** The innermost code: what the system said. */
function codeOf(error: unknown): string {
  const { code, cause, name } = (error ?? {}) as Partial<NodeJS.ErrnoException>
  if (cause !== undefined) return codeOf(cause)
  return typeof code === 'string' ? code : (name ?? typeof error)
}
