/** What a simulated answer does other than answering well. Times are in milliseconds, counts in pieces of a stream. */
export interface Faults {
  /** Waited before the answer begins. */
  readonly latency?: number
  /** Waited before each piece of a stream. */
  readonly pace?: number
  /** Answered in place of 200, with an error in OpenAI's shape. */
  readonly status?: number
  readonly retryAfter?: RetryAfter
  /** An HTML page in place of JSON, as proxies send it. */
  readonly html?: true
  readonly invalidJson?: true
  /** Nothing more after so many pieces; `begin` for not even a status. */
  readonly hang?: number | 'begin'
  /** The connection breaks after so many pieces. */
  readonly cut?: number
  /** An error event after so many pieces, and the end. */
  readonly errorEvent?: number
  readonly noDone?: true
  readonly noUsage?: true
  readonly finish?: string
  /** How long the answer is, in words. */
  readonly words?: number
  /** Only the first so many requests with these very words fare so; the others are answered well. */
  readonly fail?: number
}

/** The forms of "come back later" that are met in the wild. */
export type RetryAfter =
  | { readonly form: 'seconds' | 'date' | 'ms'; readonly value: number }
  | { readonly form: 'garbage' | 'never' }

/** Words that can't be read. The message says which, and what there is. */
export class FaultSyntaxError extends Error {
  override readonly name = 'FaultSyntaxError'
}

interface Word {
  readonly form: string
  readonly read: (value: string | undefined) => Partial<Faults> | undefined
  /** Has a meaning for streams only. */
  readonly streamOnly?: true
}

const number = (value: string | undefined, most = 1_000_000) =>
  value !== undefined && /^\d{1,7}$/.test(value) && Number(value) <= most ? Number(value) : undefined
const count = (value: string | undefined, otherwise: number) => (value === undefined ? otherwise : number(value))
const flag = (value: string | undefined, faults: Faults) => (value === undefined ? faults : undefined)
const given = <K extends keyof Faults>(name: K, value: Faults[K] | undefined): Partial<Faults> | undefined =>
  value === undefined ? undefined : { [name]: value }

const WORDS: Readonly<Record<string, Word>> = {
  latency: { form: 'latency=MS', read: (value) => given('latency', number(value)) },
  pace: { form: 'pace=MS', read: (value) => given('pace', number(value)), streamOnly: true },
  status: { form: 'status=400…599', read: (value) => given('status', errorStatus(value)) },
  'retry-after': {
    form: 'retry-after=seconds:N|date:N|ms:N|garbage|never',
    read: (value) => given('retryAfter', retryAfter(value)),
  },
  html: { form: 'html', read: (value) => flag(value, { html: true }) },
  'invalid-json': { form: 'invalid-json', read: (value) => flag(value, { invalidJson: true }) },
  hang: { form: 'hang or hang=N', read: (value) => given('hang', value === undefined ? 'begin' : number(value)) },
  cut: { form: 'cut or cut=N', read: (value) => given('cut', count(value, 1)) },
  'error-event': {
    form: 'error-event or error-event=N',
    read: (value) => given('errorEvent', count(value, 1)),
    streamOnly: true,
  },
  'no-done': { form: 'no-done', read: (value) => flag(value, { noDone: true }), streamOnly: true },
  'no-usage': { form: 'no-usage', read: (value) => flag(value, { noUsage: true }) },
  finish: { form: 'finish=REASON', read: (value) => given('finish', /^\w+$/.exec(value ?? '')?.[0]) },
  words: { form: 'words=N', read: (value) => given('words', number(value)) },
  fail: { form: 'fail=N', read: (value) => given('fail', number(value)) },
}

/**
 * Reads words like `latency=200,status=429,retry-after=seconds:3`.
 *
 * @param stream whether the answer is one
 * @throws FaultSyntaxError
 */
export function parseFaults(text: string, stream: boolean): Faults {
  let faults: Faults = {}
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '') continue
    const [name = '', value] = part.split(/=(.*)/)
    const word = Object.hasOwn(WORDS, name) ? WORDS[name] : undefined
    if (word === undefined) {
      const forms = Object.values(WORDS).map(({ form }) => form)
      throw new FaultSyntaxError(`The simulated model knows no '${name}'. It knows: ${forms.join(', ')}.`)
    }
    if (word.streamOnly && !stream) throw new FaultSyntaxError(`'${name}' needs a request with "stream": true.`)
    const read = word.read(value)
    if (read === undefined) throw new FaultSyntaxError(`'${part}' can't be read. Its form is ${word.form}.`)
    faults = { ...faults, ...read }
  }
  return faults
}

function errorStatus(value: string | undefined): number | undefined {
  const status = number(value, 599)
  return status !== undefined && status >= 400 ? status : undefined
}

function retryAfter(value = ''): RetryAfter | undefined {
  if (value === 'garbage' || value === 'never') return { form: value }
  const [, form, text] = /^(seconds|date|ms):(.+)$/.exec(value) ?? []
  const amount = number(text)
  return form === undefined || amount === undefined
    ? undefined
    : { form: form as 'seconds' | 'date' | 'ms', value: amount }
}

/** The headers that tell a client when to come back. */
export function retryHeaders(retry: RetryAfter | undefined, now: number): Record<string, string> {
  switch (retry?.form) {
    case 'seconds':
      return { 'retry-after': String(retry.value) }
    case 'date':
      return { 'retry-after': new Date(now + retry.value * 1000).toUTCString() }
    case 'ms':
      return { 'retry-after-ms': String(retry.value) }
    case 'garbage':
      return { 'retry-after': 'soon' }
    case 'never':
      return { 'x-should-retry': 'false' }
    case undefined:
      return {}
  }
}
