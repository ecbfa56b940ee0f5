import { OperatorError } from '../pipeline/index.ts'
import type { TargetSettings } from '../targets/index.ts'
import { callBounds } from './call-bounds.ts'
import type { CallProgress, Transport } from './transports/index.ts'

/** How long a target is given to answer. */
export interface ProbeOptions {
  /** The path that requests ask: an operation's. */
  readonly path: string
  readonly signal: AbortSignal
  readonly timeoutMs: number
}

/** By these a server that is there turns away what is no question; 429 says that it is busy. */
const THERE: ReadonlySet<number> = new Set([400, 409, 413, 422, 429])

/** Of each path, fields that no server takes, so that nothing is generated. */
const UNANSWERABLE: Readonly<Record<string, object>> = {
  '/chat/completions': { messages: {}, max_tokens: 1 },
  '/embeddings': { input: {} },
  '/responses': { input: {}, max_output_tokens: 16, store: false },
}

/**
 * Asks a target what requests will ask: the same URL, the same model, the same key, with messages or an input that no server
 * takes. Resolves if that is turned away for what it is alone.
 *
 * @param target `undefined` where none is configured
 * @throws OperatorError for that, and for a target at which requests would fail, saying where and how it answered; what the
 *   transport threw for one that can't be reached.
 */
export async function probe(
  transport: Transport,
  target: TargetSettings | undefined,
  options: ProbeOptions,
): Promise<void> {
  if (target === undefined) throw new OperatorError('No model is configured for this route.')
  const progress: CallProgress = {}
  const body = Buffer.from(JSON.stringify({ model: target.model, ...UNANSWERABLE[options.path] }))
  const ask = (path: string, sent?: Uint8Array) => statusOf(transport, target, path, sent, { ...options, progress })
  const status = await ask(options.path, body)
  if (isSuccess(status) || THERE.has(status)) return
  const { url } = progress
  // Some servers fail on such messages, and are well.
  if (status === 500 && isSuccess(await ask('/models').catch(() => status))) return
  throw new OperatorError(
    `The model's server answers ${status} at ${url}. Check the URL, the model's or deployment's name and the key.`,
  )
}

async function statusOf(
  transport: Transport,
  target: TargetSettings,
  path: string,
  sent: Uint8Array | undefined,
  { signal, timeoutMs, progress }: ProbeOptions & { readonly progress: CallProgress },
): Promise<number> {
  const bounds = callBounds(timeoutMs, signal)
  bounds.within(timeoutMs)
  try {
    const { status, body } = await transport.send(target, { path }, sent, { signal: bounds.signal, progress })
    body.cancel()
    return status
  } finally {
    bounds.done()
  }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}
