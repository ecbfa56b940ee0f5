import { COMPLETION, MODEL, USAGE } from '../../cache/servers/answer.ts'

const PIECES = 20

/** The completion of 1 KiB in 22 events, as a model streams it: its text in 20, why it ends, and what it took. */
export const STREAM_EVENTS: readonly Buffer[] = [
  ...Array.from({ length: PIECES }, (_, index) => event({ choices: [textPiece(index)] })),
  event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  `${event({ choices: [], usage: USAGE })}data: [DONE]\n\n`,
].map((text) => Buffer.from(text))

function textPiece(index: number): object {
  const at = (piece: number) => Math.floor((piece * COMPLETION.length) / PIECES)
  const content = COMPLETION.slice(at(index), at(index + 1))
  return { index: 0, delta: index === 0 ? { role: 'assistant', content } : { content }, finish_reason: null }
}

function event(fields: object): string {
  const chunk = { id: 'chatcmpl-constant', object: 'chat.completion.chunk', created: 1_700_000_000, model: MODEL }
  return `data: ${JSON.stringify({ ...chunk, ...fields })}\n\n`
}
