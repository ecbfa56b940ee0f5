import { createHash } from 'node:crypto'
import { type HttpResponse, jsonResponse } from '../pipeline/index.ts'
import type { Entry } from '../telemetry/index.ts'

export interface OpenApiOptions {
  /** What stands before all paths: `/api`. */
  readonly base: string
}

/** The OpenAPI document of all that is served. It is loaded and made once, when it is first asked for: no start waits for it. */
export function openApiEntry(options: OpenApiOptions): Entry {
  let making: ReturnType<typeof make> | undefined

  return async function openApi({ method, headers }): Promise<HttpResponse> {
    if (method !== 'GET' && method !== 'HEAD') return WRONG_METHOD
    making ??= make(options)
    const made = await making
    if (isMatched(headers.get('if-none-match'), made.headers.etag)) {
      const { 'content-type': _, ...kept } = made.headers
      return { kind: 'response', status: 304, headers: kept, body: null }
    }
    return { kind: 'response', status: 200, headers: made.headers, body: method === 'HEAD' ? null : made.body }
  }
}

async function make(options: OpenApiOptions) {
  const { openApiDocument } = await import('./open-api-document.ts')
  const body = Buffer.from(JSON.stringify(openApiDocument(options)))
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const headers = {
    'content-type': 'application/json',
    etag,
    'cache-control': 'no-cache',
    'x-content-type-options': 'nosniff',
  }
  return { body, headers }
}

/** RFC 9110, section 13.1.2. */
function isMatched(wanted: string | null, etag: string): boolean {
  return wanted?.split(',').some((each) => each.trim() === '*' || each.trim().replace(/^W\//, '') === etag) ?? false
}

const WRONG_METHOD: HttpResponse = jsonResponse(
  405,
  { error: 'This path takes GET and HEAD alone.', code: 'method_not_allowed' },
  { allow: 'GET, HEAD', 'x-content-type-options': 'nosniff' },
)
