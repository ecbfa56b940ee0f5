import type { RunningHost } from './host.ts'

/** What a caller of POST /api/generate makes of its answer, plain or streamed. */
export interface Completion {
  readonly status: number
  readonly cacheStatus: string
  /** The completion's text, as far as it came; '' where there is none. */
  readonly text: string
  /** Whether it came to the end that the contract promises. */
  readonly whole: boolean
  /** Whether the connection broke before its end. */
  readonly broke: boolean
  /** What an error, or a stream's last event, told. */
  readonly error: string | undefined
}

export interface Question {
  readonly prompt: string
  readonly key: string
  readonly stream?: boolean
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  /** Told of all of the text that has come, each time that more has. */
  readonly onText?: (text: string) => void
}

interface Told {
  readonly data?: { readonly completion?: string }
  readonly status?: string
  readonly error?: string
  readonly details?: string
}

/** Asks, and reads to the end whatever comes. */
export async function complete(host: Pick<RunningHost, 'url'>, question: Question): Promise<Completion> {
  const { prompt, key, stream = false, headers = {}, signal, onText } = question
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    body: JSON.stringify({ prompt, stream }),
    headers: { 'x-api-key': key, ...headers },
    ...(signal ? { signal } : {}),
  })
  let body = ''
  let broke = false
  try {
    const decoder = new TextDecoder()
    for await (const piece of response.body ?? []) {
      body += decoder.decode(piece, { stream: true })
      onText?.(textOf(eventsIn(body)))
    }
  } catch {
    broke = true
  }
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false
  const told: readonly Told[] = isStream ? eventsIn(body) : broke ? [] : [JSON.parse(body || '{}')]
  const last = told.at(-1)
  return {
    status: response.status,
    cacheStatus: response.headers.get('cache-status') ?? '',
    text: textOf(told),
    whole: response.status === 200 && !broke && last?.status === 'success',
    broke,
    error: last?.error === undefined ? undefined : `${last.error} ${last.details ?? ''}`,
  }
}

function eventsIn(body: string): readonly Told[] {
  return body
    .split('\n\n')
    .slice(0, -1)
    .filter((event) => event.startsWith('data: '))
    .map((event) => JSON.parse(event.slice('data: '.length)))
}

function textOf(told: readonly Told[]): string {
  return told.map(({ data }) => data?.completion ?? '').join('')
}
