import { estimatedInput } from '../estimated-tokens.ts'
import { answerOf } from '../json-answer.ts'
import type { Operation } from '../operation.ts'
import { isStorable, parseAnswer } from './answer.ts'
import { chatAssembler } from './assemble.ts'
import { conversation } from './conversation.ts'
import { countInput } from './count-input.ts'
import { replay } from './replay.ts'
import { bounded, bounds, fingerprinted, isSampled, offersTools, surcharges, withOutput } from './request.ts'
import { chatStream } from './stream.ts'

/** OpenAI's chat completions. */
export const chat: Operation = {
  name: 'chat',
  path: '/chat/completions',
  forwards: [],
  bounded,
  bounds,
  countInput,
  estimatedInput: (body) => estimatedInput(conversation, body),
  conversation,
  surcharges,
  withOutput,
  fingerprinted,
  isSampled,
  offersTools,
  parse: parseAnswer,
  answerOf,
  isStorable,
  stream: chatStream,
  assembler: chatAssembler,
  replay,
}
