import { describeFault, type Log, type UpstreamFailure } from '../pipeline/index.ts'
import { type CallProgress, shownUrl } from './call-progress.ts'

/**
 * Statuses that say something about our settings, and that only the operator can mend: a wrong URL, deployment, key or
 * plan, or a proxy on the way.
 */
const OPERATORS: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 407, 410, 421, 426, 501, 505, 511])

/**
 * Writes the line that an operator needs where a call failed for a reason that a status alone doesn't tell: where it went,
 * and what broke. Other failures stand on the request's own line.
 */
export function logFailure(
  log: Log,
  { status, code }: UpstreamFailure,
  { error, progress }: { readonly error: unknown; readonly progress: CallProgress },
): void {
  const url = progress.url === undefined ? {} : { url: progress.url }
  if (status === undefined) {
    log('error', 'upstream failed', { ...describeFault(error), ...url })
  } else if (isRedirect(status) || OPERATORS.has(status)) {
    const told = code === undefined ? {} : { code }
    log('error', 'upstream failed', { status, ...told, ...url, ...(isRedirect(status) ? redirected(progress) : {}) })
  }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

function redirected({ url, refused }: CallProgress): { readonly message: string; readonly location?: string } {
  const message = 'The model’s server redirects, which is not followed. Set the URL that it redirects to.'
  const location = URL.parse(refused?.headers.get('location') ?? '', url)
  return location === null ? { message } : { message, location: shownUrl(location) }
}
