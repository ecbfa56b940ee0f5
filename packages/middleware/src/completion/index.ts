export {
  type ChatAnswer,
  type ChatChoice,
  type ChatUsage,
  failureOfAnswer,
  parseAnswer,
  readAnswer,
  type ToldUsage,
  usageOfAnswer,
  usageWithoutAnswer,
} from './answer.ts'
export { type AnswerText, answerText } from './answer-text.ts'
export { type AnswerAssembler, answerAssembler, answerIn } from './assemble.ts'
export { BrokenStream, type ChatChunk, type ChatDelta, type ChatEvents, chatEvents } from './chat-events.ts'
export type { Codec } from './codec.ts'
export { costOf, outputFor } from './cost.ts'
export { type Digest, digestWith } from './digest.ts'
export { type EventEncoder, encodeStream } from './encode-stream.ts'
export { EVENT_STREAM_HEADERS } from './event-stream.ts'
export { type GrowingBytes, growingBytes } from './growing-bytes.ts'
export { type OutputBound, outputBound, statesOutput, withOutputBound } from './output-bound.ts'
export { leastTokens } from './output-tokens.ts'
export { type Parsed, type ParseOptions, parse } from './parse.ts'
export { replayChunks, replayEvents } from './replay.ts'
export type { ChatBody, ChatMessage, CompletionRequest } from './request.ts'
export { inputBound, unboundedField } from './token-bound.ts'
export { highest, isCount, noteUsage, usageOf } from './usage.ts'
export { type UsageTally, usageTally } from './usage-tally.ts'
