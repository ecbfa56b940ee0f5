export { type Body, bodyOf, type Json } from './body.ts'
export { BrokenStream } from './broken-stream.ts'
export {
  type AnswerReply,
  attemptsBefore,
  type Call,
  faultAfter,
  type RefusedReply,
  type Reply,
  type ReplySource,
  refused,
  type StreamEnd,
  type StreamReply,
} from './call.ts'
export type { ChatAnswer, ChatChoice, ChatUsage } from './chat/answer.ts'
export { type AnswerText, answerText } from './chat/answer-text.ts'
export { chat, WITHOUT_EFFECT } from './chat/chat.ts'
export type { ChatChunk, ChatDelta } from './chat/chat-events.ts'
export type { ChatBody, ChatMessage } from './chat/request.ts'
export { highest, isCount } from './chat/usage.ts'
export { costOf, outputFor } from './cost.ts'
export type {
  Answer,
  Assembler,
  Bounds,
  ModelRules,
  Operation,
  ParsedAnswer,
  StreamParser,
} from './operation.ts'
export { type EventSource, eventsIn, type StreamEvent } from './stream-event.ts'
