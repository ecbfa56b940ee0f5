import {
  type Body,
  BrokenStream,
  type Call,
  isJson,
  isUsualTier,
  MAX_EVENT_BYTES,
  objectOf,
  serverSentEvents,
} from '../operations/index.ts'
import type { Refusal } from '../pipeline/index.ts'
import type { Translation, Untranslatable } from '../targets/index.ts'
import type { AnswerBody } from './answer-body.ts'
import type { Candidate, Candidates } from './candidates.ts'
import type { Transport } from './transports/index.ts'

/*
 * What is asked of a target with a wire format of its own, and what it answers, as bytes: its kind translates the values in them.
 * Without a translation everything passes as it is.
 */

/** How a candidate is told a request; `undefined` where it is asked in OpenAI's format. A service with a format of its own has no tiers. */
export function translationFor(
  { translation }: Pick<Transport, 'translation'>,
  operation: Call['operation'],
  { json }: Body,
  { target, tier }: Candidate,
): Translation | Untranslatable | undefined {
  const translated = translation?.(target.settings, operation, json)
  if (translated === undefined || 'cannot' in translated || tier === undefined || isUsualTier(tier)) return translated
  return { cannot: `has no service tier '${tier}'`, field: 'service_tier' }
}

/** Those of the candidates that can be told a request; where there is none, why the first can't. */
export function translatable(
  transport: Pick<Transport, 'translation'>,
  operation: Call['operation'],
  body: Body,
  candidates: Candidates,
): Candidates | Untranslatable {
  let cannot: Untranslatable | undefined
  let able: Candidate[] | undefined
  for (let at = 0; at < candidates.length; at += 1) {
    const candidate = candidates[at] as Candidate
    const translation = translationFor(transport, operation, body, candidate)
    if (translation === undefined || !('cannot' in translation)) able?.push(candidate)
    else {
      cannot ??= translation
      able ??= candidates.slice(0, at)
    }
  }
  if (able === undefined || cannot === undefined) return candidates
  const [first, ...others] = able
  return first === undefined ? cannot : [first, ...others]
}

/** The refusal of what none of a model's targets can be asked. */
export function cantBeAsked(model: string, { cannot, field }: Untranslatable): Refusal {
  return {
    kind: 'refusal',
    code: 'invalid_request',
    status: 400,
    param: field ?? 'model',
    message: `The model '${model}' ${cannot}. ${field === undefined ? 'Name' : 'Leave it out, or name'} another model.`,
  }
}

/** A plain answer's bytes, in memory of its own, in OpenAI's format. One that has no translation is no answer, whatever it looks like. */
export function translatedAnswer(bytes: Buffer, translation: Translation | undefined): Buffer {
  if (translation === undefined) return bytes
  const told = translation.answer(objectOf(bytes.toString())) ?? {}
  return Buffer.from(new TextEncoder().encode(JSON.stringify(told)).buffer)
}

const NO_BYTES = Buffer.alloc(0)

/** A stream's bytes in OpenAI's format: as they come, and no faster than they are read. What is no JSON tells nothing. */
export function translatedEvents(body: AnswerBody, translation: Translation | undefined): AnswerBody {
  if (translation === undefined) return body
  const { kind, head, rest } = body
  let [first, written, isOver]: [Uint8Array | undefined, string, boolean] = [head, '', false]
  const events = serverSentEvents({
    maxBytes: MAX_EVENT_BYTES,
    onEvent({ data }) {
      for (const event of translation.events(objectOf(data))) {
        written += `data: ${isJson(event) ? JSON.stringify(event) : event}\n\n`
      }
    },
  })
  return {
    kind,
    head: NO_BYTES,
    rest: {
      async read() {
        while (!isOver) {
          const piece = first ?? (await rest.read())
          first = undefined
          if (isOver) return undefined
          if (piece === undefined) {
            isOver = true
            events.close()
          } else events.feed(piece)
          if (events.isTooLong) throw new BrokenStream({ code: 'invalid_response' })
          if (written === '') continue
          const bytes = Buffer.from(written)
          written = ''
          return bytes
        }
        return undefined
      },
      cancel(reason) {
        isOver = true
        rest.cancel(reason)
      },
    },
  }
}
