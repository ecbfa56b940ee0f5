import {
  answerIn,
  BrokenStream,
  failureOfAnswer,
  growingBytes,
  readAnswer,
  type ToldUsage,
  usageOfAnswer,
  usageWithoutAnswer,
} from '../operations/index.ts'
import { type AnswerBody, answerBody, MAX_ANSWER_BYTES, restOf } from './answer-body.ts'
import { type AnswerEventsOptions, answerEvents } from './answer-events.ts'
import { NoAnswer } from './no-answer.ts'

export interface WholeAnswerOptions extends AnswerEventsOptions {
  /** Is told what the answer took, be it a completion or not; of one that comes in pieces, each time as far as is known. */
  readonly onUsage: (told: ToldUsage) => void
}

/**
 * A chat completion's JSON in a model's 200, byte for byte; one that came as a stream of events is put together.
 *
 * @throws NoAnswer; whatever the connection throws
 */
export async function wholeAnswer(response: Response, options: WholeAnswerOptions): Promise<Buffer> {
  const { status } = response
  const body = await answerBody(response)
  if (body.kind === 'events') return assembled(body, status, options)
  const bytes = await restOf(body, status)
  const text = bytes.toString()
  const answer = readAnswer(text)
  const told = answer === undefined ? usageWithoutAnswer(text) : usageOfAnswer(answer)
  if (told !== undefined) options.onUsage(told)
  if (answer === undefined) throw new NoAnswer({ status, ...failureOfAnswer(text) })
  return bytes
}

async function assembled(body: AnswerBody, status: number, options: WholeAnswerOptions): Promise<Buffer> {
  const events = answerEvents(body, options)
  const bytes = growingBytes(MAX_ANSWER_BYTES)
  try {
    for (
      let piece = await events.next(options.idleMs);
      piece !== undefined;
      piece = await events.next(options.idleMs)
    ) {
      if (!bytes.append(piece)) throw new BrokenStream({ code: 'answer_too_large' })
      tellSoFar()
    }
    const { usage, told } = events.tally
    tellUsage(usage ?? told, usage !== undefined)
  } catch (error) {
    events.cancel()
    tellSoFar()
    throw error instanceof BrokenStream ? new NoAnswer({ status, ...error.failure }) : error
  }
  const answer = answerIn(bytes.view())
  if (answer === undefined) throw new NoAnswer({ status, code: 'invalid_response' })
  return Buffer.from(JSON.stringify(answer))

  /** As where it is streamed on: a usage that covers all choices, which have ended, stands whatever follows. */
  function tellSoFar(): void {
    const { usage, told } = events.tally
    tellUsage(told, events.isEmpty || (events.isFinished && usage !== undefined))
  }

  function tellUsage(usage: ToldUsage['usage'] | undefined, isCertain: boolean): void {
    if (usage !== undefined) options.onUsage({ usage, isCertain })
  }
}
