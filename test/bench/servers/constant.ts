/** An answer as long as a short completion's. */
export const CONSTANT = Buffer.from(
  JSON.stringify({
    data: {
      completion: 'This is a simulated answer to: What is a tollgate?',
      model: 'simulated',
      usage: { prompt_tokens: 27, completion_tokens: 13, total_tokens: 40 },
    },
    status: 'success',
  }),
)
