/*
 * A model of another team's on AWS Lambda, behind a function URL with AWS_IAM authorization. It speaks the contract of
 * POST /api/generate (docs/generate.md), so that a policy's `generate` target can ask it. Put a model into `complete`.
 */

/** @param {{ body?: string, isBase64Encoded?: boolean }} event as a function URL gives it */
export async function handler({ body = '', isBase64Encoded = false }) {
  let request
  try {
    request = JSON.parse(isBase64Encoded ? Buffer.from(body, 'base64').toString() : body)
  } catch {
    return answer(400, { error: 'Invalid JSON format' })
  }
  const { prompt, system = 'You are a helpful assistant.', temperature = 0.7, max_tokens = 800 } = Object(request)
  if (typeof prompt !== 'string' || prompt === '') {
    return answer(400, { error: "'prompt' must be a non-empty string" })
  }
  try {
    const { text, model, inputTokens, outputTokens } = await complete({ prompt, system, temperature, max_tokens })
    const usage = {
      prompt_tokens: inputTokens,
      completion_tokens: outputTokens,
      total_tokens: inputTokens + outputTokens,
    }
    return answer(200, { data: { completion: text, model, usage }, status: 'success' })
  } catch (error) {
    // Its text may repeat the prompt.
    console.error(error?.name)
    return answer(502, { error: 'The LLM service failed to process the request.' })
  }
}

/** Stands for a model: it says the prompt again. Without `usage`, all that was reserved for a call counts as spent. */
async function complete({ prompt, system, max_tokens }) {
  const words = prompt.split(/\s+/).filter((word) => word !== '')
  const said = words.slice(0, max_tokens)
  const inputTokens = words.length + system.split(/\s+/).length
  return { text: `You said: ${said.join(' ')}`, model: 'echo-1', inputTokens, outputTokens: said.length }
}

function answer(statusCode, body) {
  return { statusCode, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}
