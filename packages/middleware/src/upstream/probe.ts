import { OperatorError } from '../pipeline/index.ts'
import type { TargetSettings } from '../policy/index.ts'
import { type CallProgress, following } from './call-progress.ts'
import type { Connect } from './client.ts'

/** How long a target is given to answer. */
export interface ProbeOptions {
  readonly signal: AbortSignal
  readonly timeoutMs: number
}

/** By these a server that is there turns away what is no question; 429 says that it is busy. */
const THERE: ReadonlySet<number> = new Set([400, 409, 413, 422, 429])

/**
 * Asks a target what requests will ask: the same URL, the same model, the same key, with messages that no server takes, so
 * that nothing is generated. Resolves if that is turned away for its messages alone.
 *
 * @param target `undefined` where none is configured
 * @throws OperatorError for that, and for a target at which requests would fail, saying where and how it answered; what the
 *   SDK threw for one that can't be reached.
 */
export async function probe(
  connect: Connect,
  target: TargetSettings | undefined,
  options: ProbeOptions,
): Promise<void> {
  if (target === undefined) throw new OperatorError('No model is configured for this route.')
  const progress: CallProgress = {}
  const status = await statusOf(connect, target, { ...options, progress })
  if ((status >= 200 && status < 300) || THERE.has(status)) return
  // Some servers fail on such messages, and are well.
  if (status === 500 && (await listsModels(connect, target, options))) return
  throw new OperatorError(
    `The model's server answers ${status} at ${progress.url}. Check the URL, the model's or deployment's name and the key.`,
  )
}

async function statusOf(
  connect: Connect,
  target: TargetSettings,
  { signal, timeoutMs: timeout, progress }: ProbeOptions & { readonly progress: CallProgress },
): Promise<number> {
  const client = await connect(target)
  const body = { model: target.model, messages: {}, max_tokens: 1 }
  try {
    const response = await client
      .post('/chat/completions', { body, signal, timeout, fetchOptions: following(progress) })
      .asResponse()
    await response.body?.cancel()
    return response.status
  } catch (error) {
    const { status } = error as { readonly status?: unknown }
    if (typeof status !== 'number') throw error
    return status
  }
}

async function listsModels(
  connect: Connect,
  target: TargetSettings,
  { signal, timeoutMs: timeout }: ProbeOptions,
): Promise<boolean> {
  const client = await connect(target)
  try {
    const response = await client.get('/models', { signal, timeout }).asResponse()
    await response.body?.cancel()
    return true
  } catch {
    return false
  }
}
