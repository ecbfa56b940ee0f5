export interface Welcome {
  readonly url: string
  readonly tables: string
  readonly model: string
  readonly functions: readonly string[]
  readonly notes: readonly string[]
  /** `undefined` where none was made, because the storage is the user's own. */
  readonly key: string | undefined
}

/** What `npm start` prints when all is up: what runs, and commands to try. */
export function welcome({ url, tables, model, functions, notes, key }: Welcome): string {
  const lines = [
    '',
    `Tollgate runs on ${url} (a development host: not for production)`,
    '',
    `  tables     ${tables}`,
    `  model      ${model}`,
    ...functions.map((text, index) => `  ${index === 0 ? 'functions ' : '          '} ${text}`),
    ...notes.map((text) => `  note       ${text}`),
    '',
    ...(key === undefined ? ownKey(url) : demo(url, key)),
    '',
    'Ctrl-C stops it.',
    '',
  ]
  return lines.join('\n')
}

function demo(url: string, key: string): string[] {
  const ask = `curl -i ${url}/api/generate -H 'X-API-KEY: ${key}' -d '{"prompt":"What is a tollgate?"}'`
  return [
    'Try, in another terminal:',
    '',
    '  # a completion (look at Cache-Status and RateLimit)',
    `  ${ask}`,
    '',
    '  # the same again: a hit',
    `  ${ask}`,
    '',
    '  # without a key: 401',
    `  curl -i ${url}/api/generate -d '{"prompt":"What is a tollgate?"}'`,
    '',
    '  # 16 in a row: the plan has 10 a minute and a burst of 5, so this ends in 429',
    `  for i in $(seq 16); do curl -s -o /dev/null -w '%{http_code}\\n' ${url}/api/generate -H 'X-API-KEY: ${key}' -d '{"prompt":"What is a tollgate?"}'; done`,
    '',
    '  # a key of your own',
    '  npm run tollgate -- keys create --consumer alice',
  ]
}

function ownKey(url: string): string[] {
  return [
    'No demo key is made in storage of your own. Make one, and use it:',
    '',
    '  npm run tollgate -- keys create --consumer alice',
    `  curl -i ${url}/api/generate -H "X-API-KEY: $KEY" -d '{"prompt":"What is a tollgate?"}'`,
  ]
}
