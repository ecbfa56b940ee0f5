export { billed } from './billed.ts'
export { type Body, bodyFrom, bodyOf, isJson, type Json, type NoBody } from './body.ts'
export { BrokenStream } from './broken-stream.ts'
export {
  type AnswerReply,
  attemptsBefore,
  type Call,
  type FieldRules,
  faultAfter,
  type RefusedReply,
  type Reply,
  type ReplySource,
  refused,
  type StreamEnd,
  type StreamReply,
} from './call.ts'
export type { ChatAnswer, ChatChoice } from './chat/answer.ts'
export { chat } from './chat/chat.ts'
export { type AnswerText, answerText, type ChatDelta } from './chat/message.ts'
export { type ChatBody, type ChatMessage, WITHOUT_EFFECT } from './chat/request.ts'
export type { ChatChunk } from './chat/stream.ts'
export type { Conversation } from './conversation.ts'
export { costOf, isUsualTier, outputFor, type WorstCase, worstPrice } from './cost.ts'
export { embeddings, inputsIn, MAX_INPUTS } from './embeddings.ts'
export { objectOf } from './json-answer.ts'
export type { JsonFlaw } from './json-names.ts'

/** Megabytes of vocabulary; loaded when there is something to count. */
export const loadTokenizer = () => import('./o200k-base.ts')

export type {
  Answer,
  Assembler,
  Bounds,
  Operation,
  ParsedAnswer,
  StreamParser,
  Surcharges,
} from './operation.ts'
export { MAX_EVENT_BYTES } from './parsed-stream.ts'
export { responses } from './responses/responses.ts'
export { type StatefulField, statefulField } from './responses/stateless.ts'
export { type ServerSentEvents, serverSentEvents } from './server-sent-events.ts'
export { type EventSource, eventOf, eventsIn, type StreamEvent } from './stream-event.ts'
export { type BilledExtras, billedExtras, tierAsked, WEB_SEARCH } from './surcharges.ts'
export { atMost, highest } from './tokens.ts'
export { type ChatUsage, isCount } from './usage.ts'
