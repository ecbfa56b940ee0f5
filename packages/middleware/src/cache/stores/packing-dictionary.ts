const FILTERED = '{"filtered":false,"severity":"safe"}'
const FILTERS = `"content_filter_results":{"hate":${FILTERED},"self_harm":${FILTERED},"sexual":${FILTERED},"violence":${FILTERED}}`

/**
 * What OpenAI's and Azure's completions have in common, for a compressor to refer to; the commonest last, where a
 * reference is shortest. What was packed with it can't be unpacked without it: a change needs a codec of its own.
 */
export const PACKING_DICTIONARY = Buffer.from(
  [
    `"prompt_filter_results":[{"prompt_index":0,${FILTERS}}],`,
    'data: {"id":"chatcmpl-","object":"chat.completion.chunk","created":17,"model":"gpt-4o-mini-2024-07-18",',
    '"service_tier":"default","system_fingerprint":"fp_","choices":[{"index":0,"delta":{"role":"assistant",',
    '"content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}\n\n',
    'data: {"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    '{"id":"chatcmpl-","object":"chat.completion","created":17,"model":"gpt-4.1","choices":[{"index":0,"message":',
    '{"role":"assistant","content":"","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],',
    '"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0,',
    '"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,',
    '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default",',
    '"system_fingerprint":"fp_"}',
  ].join(''),
)
