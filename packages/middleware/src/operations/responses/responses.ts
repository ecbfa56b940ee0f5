import { estimatedInput } from '../estimated-tokens.ts'
import { answerOf } from '../json-answer.ts'
import type { Operation } from '../operation.ts'
import { isStorable, parseAnswer } from './answer.ts'
import { responseAssembler } from './assemble.ts'
import { conversation } from './conversation.ts'
import { countInput } from './count-input.ts'
import { replay } from './replay.ts'
import { bounded, bounds, fingerprinted, isSampled, offersTools, surcharges, withOutput } from './request.ts'
import { responseStream } from './stream.ts'

/** OpenAI's responses, without state: what a request leans on stands in its body (`statefulField`). */
export const responses: Operation = {
  name: 'responses',
  path: '/responses',
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
  stream: responseStream,
  assembler: responseAssembler,
  replay,
}
