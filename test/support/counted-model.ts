import type { ServerResponse } from 'node:http'
import { answering, type ReceivedCall, startUpstream, streaming } from './upstream.ts'

/** A model that counts what it is asked, and says something else each time: no answer can be taken for another. */
export interface CountedModel {
  /** As an OpenAI SDK takes it, with /v1. */
  readonly baseUrl: string
  /** How often it was asked this. */
  asked(prompt: string): number
  /** The texts that it has given, or begun to give, whole: of each call for this at most one. */
  given(prompt: string): readonly string[]
  /** What the next calls for this come to, one each; after them whole answers again. */
  next(prompt: string, ...turns: readonly Turn[]): void
  /** How many calls for this have ended, by an answer or because nobody waited for it any more. */
  ended(prompt: string): number
  close(): Promise<void>
}

/** One call's answer. A faulty one is no answer to keep, whole though it may look. */
export interface Turn {
  readonly faulty: boolean
  /** What is added to the text, to make it long. */
  readonly more?: string
  readonly reply: (text: string, call: ReceivedCall, response: ServerResponse) => unknown
}

export interface WholeOptions {
  /** Waited for before the piece of this index; a plain answer is one piece. */
  readonly before?: (index: number) => unknown
  /** What is added to the text, to make it long. */
  readonly more?: string
  /** What a stream ends with in the place of its proper end. */
  readonly end?: (response: ServerResponse) => void
}

/** An answer in the form that is asked for; a stream comes in four pieces. */
export function whole({ before, more = '', end }: WholeOptions = {}): Turn {
  return {
    faulty: false,
    more,
    async reply(text, call, response) {
      if (call.body.stream === true) {
        const streamed = { ...(before ? { before } : {}), ...(end ? { end } : {}) }
        return streaming(piecesOf(text), streamed)(call, response)
      }
      await before?.(0)
      return answering((body) => ({ ...body, choices: [choice(text)] }))(call, response)
    },
  }
}

/** An answer that a filter has cut: it is passed on, and not kept. */
export function filtered(): Turn {
  const reason = 'content_filter'
  return faulty((text, call, response) => {
    if (call.body.stream !== true)
      return answering((body) => ({ ...body, choices: [choice(text, reason)] }))(call, response)
    const end = () => response.end(`data: ${chunk({}, reason)}\n\ndata: [DONE]\n\n`)
    return streaming(piecesOf(text), { end })(call, response)
  })
}

export function faulty(reply: Turn['reply']): Turn {
  return { faulty: true, reply }
}

/** The data of one of a stream's events. */
export function chunk(delta: object, finish_reason: string | null): string {
  return JSON.stringify({ object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] })
}

export function piecesOf(text: string): readonly string[] {
  const size = Math.ceil(text.length / 4)
  return [0, 1, 2, 3].map((at) => text.slice(at * size, (at + 1) * size)).filter((piece) => piece !== '')
}

function choice(content: string, finish_reason = 'stop') {
  return { index: 0, message: { role: 'assistant', content }, finish_reason }
}

export async function startCountedModel(): Promise<CountedModel> {
  const upstream = await startUpstream()
  const known = new Map<string, { asked: number; ended: number; readonly given: string[]; readonly turns: Turn[] }>()

  function of(prompt: string) {
    const topic = known.get(prompt) ?? { asked: 0, ended: 0, given: [], turns: [] }
    known.set(prompt, topic)
    return topic
  }

  upstream.reply = async (call, response) => {
    const prompt = promptOf(call)
    const topic = of(prompt)
    topic.asked += 1
    response.once('close', () => {
      topic.ended += 1
    })
    const { faulty, more = '', reply } = topic.turns.shift() ?? whole()
    const text = `answer ${topic.asked} to ${prompt}.${more}`
    if (!faulty) topic.given.push(text)
    await reply(text, call, response)
  }

  return {
    baseUrl: upstream.baseUrl,
    asked: (prompt) => of(prompt).asked,
    given: (prompt) => of(prompt).given,
    next: (prompt, ...turns) => void of(prompt).turns.push(...turns),
    ended: (prompt) => of(prompt).ended,
    close: upstream.close,
  }
}

function promptOf({ body }: ReceivedCall): string {
  const messages = body.messages as { content: string }[]
  return messages.at(-1)?.content ?? ''
}
