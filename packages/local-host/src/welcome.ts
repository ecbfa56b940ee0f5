export interface Welcome {
  readonly url: string
  readonly tables: string
  readonly policy: string
  readonly model: string
  /** Whether what is tried out is billed. */
  readonly isReal: boolean
  readonly functions: readonly string[]
  readonly notes: readonly string[]
  /** `undefined` where none was made, because the storage is the user's own. */
  readonly demo: Demo | undefined
  /** Whether keys can be made at all: storage in memory is this process's alone. */
  readonly inMemory: boolean
}

export interface Demo {
  readonly key: string
  /** The model of the route `chat`; `undefined` where nothing serves it. */
  readonly chatModel: string | undefined
  /** The tightest limit of its plan; `undefined` where the plan has none. */
  readonly limit: { readonly quota: number; readonly periodMs: number; readonly capacity: number } | undefined
}

const BODY = '{"prompt":"What is a tollgate?"}'

/** What `npm start` prints when all is up: what runs, and commands to try. */
export function welcome({ url, tables, policy, model, isReal, functions, notes, demo, inMemory }: Welcome): string {
  const lines = [
    '',
    `Tollgate runs on ${url} (a development host: not for production)`,
    '',
    `  tables     ${tables}`,
    `  policy     ${policy}`,
    `  model      ${model}`,
    ...functions.map((text, index) => `  ${index === 0 ? 'functions ' : '          '} ${text}`),
    ...notes.map((text) => `  note       ${text}`),
    '',
    ...(demo !== undefined ? tryOut(url, demo, isReal) : inMemory ? noKey() : ownKey(url)),
    '',
    'Ctrl-C stops it.',
    '',
  ]
  return lines.join('\n')
}

function tryOut(url: string, { key, chatModel, limit }: Demo, isReal: boolean): string[] {
  const ask = `curl -i ${url}/api/generate -H 'X-API-KEY: ${key}' -d '${BODY}'`
  return [
    isReal
      ? 'Try, in another terminal (the model is REAL: what it answers may be billed):'
      : 'Try, in another terminal:',
    '',
    ...(chatModel === undefined ? [] : askChat(url, key, chatModel)),
    '  # a completion the short way (look at Cache-Status and RateLimit)',
    `  ${ask}`,
    '',
    '  # the same again: a hit',
    `  ${ask}`,
    '',
    '  # as a stream',
    `  ${ask.replace('curl -i', 'curl -iN').replace('"}\'', '","stream":true}\'')}`,
    '',
    '  # without a key: 401',
    `  curl -i ${url}/api/generate -d '${BODY}'`,
    '',
    ...(limit === undefined || limit.capacity >= LONGEST_LOOP ? [] : exceed(limit, `${url}/api/generate`, key)),
    '  # what you may, and what is left of each limit',
    `  curl ${url}/api/me -H 'X-API-KEY: ${key}'`,
    '',
    '  # a key of your own',
    '  npm run tollgate -- keys create --consumer alice',
    '',
    "  # who spent what, and one request's story by its X-Request-ID (10 seconds after it ended)",
    '  npm run tollgate -- usage',
    '  npm run tollgate -- why <X-Request-ID>',
  ]
}

function askChat(url: string, key: string, model: string): string[] {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'What is a tollgate?' }] })
  return [
    "  # a chat completion, as OpenAI's clients ask for one",
    `  curl -i ${url}/api/v1/chat/completions -H 'Authorization: Bearer ${key}' -d '${body}'`,
    '',
  ]
}

/** The most requests of the loop that shows a 429: a longer one takes minutes, and a real model bills each. */
const LONGEST_LOOP = 100

function exceed({ quota, periodMs, capacity }: NonNullable<Demo['limit']>, url: string, key: string): string[] {
  const ask = `curl -s -o /dev/null -w '%{http_code}\\n' ${url} -H 'X-API-KEY: ${key}' -d '${BODY}'`
  return [
    `  # ${capacity + 1} in a row: the plan has ${quota} in ${periodMs / 1000} s and takes ${capacity} at once, so this ends in 429`,
    `  for i in $(seq ${capacity + 1}); do ${ask}; done`,
    '',
  ]
}

function noKey(): string[] {
  return [
    'TOLLGATE_STORAGE is memory:, which no other process can reach, so no key can be made and every request is a 401.',
    'Leave it out for tables that are kept.',
  ]
}

function ownKey(url: string): string[] {
  return [
    'No demo key is made in storage of your own. Make one, and use it:',
    '',
    '  npm run tollgate -- keys create --consumer alice',
    `  curl -i ${url}/api/generate -H "X-API-KEY: $KEY" -d '${BODY}'`,
  ]
}
