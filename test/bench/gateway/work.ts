import { COMPLETION } from '../cache/servers/answer.ts'
import { STREAM_EVENTS } from './servers/stream-events.ts'

/** What is asked: a prompt of 1 KiB, which no other request has, or all have. */
export interface Work {
  readonly stream: boolean
  readonly same: boolean
}

export const HIT: Work = { stream: false, same: true }
export const CALL: Work = { stream: false, same: false }
export const STREAM: Work = { stream: true, same: false }

const PROMPT = 'The customer writes that the parcel has not come, and asks where it is and when it will be there. '
  .repeat(11)
  .slice(0, 1024)

const promptOf = ({ same }: Work) => (same ? PROMPT : `{n} ${PROMPT}`)

/** As `/api/generate` takes it. */
export function generateBody(work: Work): string {
  return JSON.stringify({ prompt: promptOf(work), ...(work.stream ? { stream: true } : {}) })
}

/** As a model's server takes it: what a proxy passes on. */
export function chatBody(work: Work, model = 'gpt-4'): string {
  return JSON.stringify({
    model,
    messages: [
      { role: 'system', content: 'You are a helpful assistant.' },
      { role: 'user', content: promptOf(work) },
    ],
    ...(work.stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  })
}

/** @throws when it is not the whole completion, in whatever shape it comes. */
export function checkAnswer({ stream }: Work, text: string): void {
  const found = stream ? eventsOf(text).map(textOf).join('') : textOf(text)
  if (found !== COMPLETION) throw new Error(`answers ${text.slice(0, MOST_SHOWN)}`)
  if (stream && eventsOf(text).length < STREAM_EVENTS.length - 1) throw new Error('put events of its stream together')
}

const MOST_SHOWN = 300

function eventsOf(text: string): string[] {
  return [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data = '']) => data)
}

/** Of a completion or an event, from the gateway or as a model has it. */
function textOf(text: string): string {
  const { data, choices = [] } = JSON.parse(text)
  const [choice] = choices
  return data?.completion ?? choice?.message?.content ?? choice?.delta?.content ?? ''
}
