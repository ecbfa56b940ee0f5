/** How far a call to a model has come. The `fetch` that makes the call notes it here, for the case that it fails. */
export interface CallProgress {
  /** Where the request goes: without a user name, and of its query only the API's version. */
  url?: string
  /** Whether a part of the request may have left this process. Left out where none has. */
  sent?: true
  /** The head of an answer that is no success: known before its body, and whatever becomes of that. */
  refused?: { readonly status: number; readonly headers: Headers }
}

const PROGRESS = Symbol('progress')

interface Followed {
  readonly [PROGRESS]?: CallProgress
}

/** As a call's `fetchOptions`, which the SDK hands to `fetch` as they are: notes there how far the call comes. */
export function following(progress: CallProgress): object {
  return { [PROGRESS]: progress } satisfies Followed
}

/** Where a call's progress is to be noted. Who calls without `following` looks at none. */
export function progressOf(init: RequestInit | undefined): CallProgress {
  return (init as Followed | undefined)?.[PROGRESS] ?? {}
}

/** A URL as a log may show it. A query can hold a key. */
export function shownUrl(url: string | URL): string {
  const parsed = URL.parse(String(url))
  if (parsed === null) return 'no URL'
  const version = parsed.searchParams.get('api-version')
  const query = version === null ? '' : `?api-version=${encodeURIComponent(version)}`
  return parsed.origin + parsed.pathname + query
}
