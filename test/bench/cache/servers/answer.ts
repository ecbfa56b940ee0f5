/** A completion of about 1 KiB, as a model words it. */
export const COMPLETION = 'A tollgate lets through who has paid, counts who went by, and keeps the road in repair. '
  .repeat(11)
  .trim()
export const MODEL = 'constant'
export const USAGE = { prompt_tokens: 300, completion_tokens: 240, total_tokens: 540 }

/** What the model answers, whatever it is asked. */
export const CHAT_ANSWER = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-constant',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: MODEL,
    choices: [{ index: 0, message: { role: 'assistant', content: COMPLETION }, finish_reason: 'stop' }],
    usage: USAGE,
  }),
)

/** What `/api/generate` makes of it, to the byte. */
export const GENERATE_ANSWER = Buffer.from(
  JSON.stringify({ data: { completion: COMPLETION, model: MODEL, usage: USAGE }, status: 'success' }),
)

/** A line of log as long as the gateway's own of a hit. */
export const LOG_LINE = JSON.stringify({
  event: 'request',
  requestId: '7b0c6f0e-6d1c-4f0f-9a53-0c7c54b0f6d1',
  promptHash: 'qUqP5cyxm6YcTAhz05Hph5gvu9M_o3zW5DGsTFUVtZI',
  consumer: 'bench-0',
  plan: 'bench',
  model: 'default',
  cache: 'hit',
  spared: { input: 300, cachedInput: 0, output: 240 },
  status: 200,
  ms: 1,
})
