import { OperatorError } from '../pipeline/index.ts'
import type { TargetSettings } from '../policy/index.ts'
import type { Connect } from './client.ts'

/**
 * Asks a target for its list of models, which costs nothing. Resolves if it answers and lets us in; one that keeps no
 * such list, or is busy, is there too.
 *
 * @param target `undefined` where none is configured
 * @throws OperatorError for that; what the SDK threw for a target that can't be reached, refuses our key, or fails.
 */
export async function probe(
  connect: Connect,
  target: TargetSettings | undefined,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<void> {
  if (target === undefined) throw new OperatorError('No model is configured for this route.')
  const client = await connect(target)
  try {
    const response = await client.get('/models', { signal, timeout: timeoutMs }).asResponse()
    await response.body?.cancel()
  } catch (error) {
    const { status } = error as { status?: number }
    if (status !== 404 && status !== 405 && status !== 429) throw error
  }
}
