import type { SendOptions, Source, TargetSettings, Transport, TransportAnswer } from '@tollgate/middleware'
import type { CallParts } from './gateway-under-test.ts'
import type { Random } from './random.ts'
import type { PlacedTarget, SimulatedModel } from './routed-scenario.ts'

/* Models' servers in simulated time, which fail as they do. Each bills by itself. */

/** A call as its target has it. */
export interface PlayedCall {
  readonly requestId: string
  readonly target: PlacedTarget
  readonly model: SimulatedModel
  /** As it was asked for; `undefined` where it was left to the service. */
  readonly tier: string | undefined
  readonly at: number
  readonly outcome: Outcome
  /** Whether the gateway hears what it took: `nothing`, all of it, or not what it has taken. */
  taken: 'nothing' | 'told' | 'untold'
  /** What it has taken, in nano-dollars. */
  bill: number
  /** Whether a byte of its answer has come. */
  hasBegun: boolean
  /** Until when its target is to be left alone, where it has said so, and since when the gateway knows. */
  blocked: { readonly since: number; readonly until: number } | undefined
}

export interface PlayedOptions extends Pick<CallParts, 'ConnectionFailed'> {
  readonly models: ReadonlyMap<string, SimulatedModel>
  readonly dice: Random
  readonly now: () => number
  /** Told of each call as it is made, before it is known what becomes of it. */
  readonly onCall: (call: PlayedCall) => void
}

type Json = Readonly<Record<string, unknown>>

/** What a call has taken that comes to this, as far as the gateway hears. */
const TAKEN = {
  answered: 'told',
  'too many': 'nothing',
  overloaded: 'nothing',
  refused: 'nothing',
  invalid: 'nothing',
  filtered: 'untold',
  error: 'untold',
  reset: 'untold',
  hang: 'untold',
  cut: 'untold',
  nonsense: 'untold',
} as const
type Outcome = keyof typeof TAKEN

/** How likely each outcome is while a target is in such a mood. */
const MOODS: Readonly<Record<string, Readonly<Partial<Record<Outcome, number>>>>> = {
  well: { answered: 1 },
  busy: { answered: 3, 'too many': 5, overloaded: 2 },
  failing: { answered: 2, error: 3, reset: 2, hang: 1, cut: 1, nonsense: 1 },
  gone: { refused: 1 },
  strict: { answered: 3, invalid: 1, filtered: 1 },
}

export function playedTransport({ ConnectionFailed, models, dice, now, onCall }: PlayedOptions): Transport {
  const targets = new Map(
    [...models.values()].flatMap((model) => model.targets.map((target) => [target.name, { model, target }] as const)),
  )
  const moods = new Map([...targets.keys()].map((name) => [name, moodOf(dice)]))

  return {
    async send(settings: TargetSettings, _operation, bytes, { signal, progress, requestId = '' }: SendOptions) {
      const known = targets.get(settings.model)
      if (known === undefined) throw new Error(`There is no target ${settings.model}`)
      const { model, target } = known
      const body = JSON.parse(Buffer.from(bytes ?? []).toString()) as Json
      if (dice.chance(0.1)) moods.set(target.name, moodOf(dice))
      const tier = body.service_tier as string | undefined
      const isFull = tier === 'flex' && dice.chance(0.3)
      const outcome = isFull ? 'too many' : pickOf(MOODS[moods.get(target.name) ?? 'well'] ?? {}, dice)
      const made: PlayedCall = {
        ...{ requestId, target, model, tier, at: now(), outcome },
        ...{ taken: 'nothing', bill: 0, hasBegun: false, blocked: undefined },
      }
      onCall(made)
      await within(dice.between(1, 30), signal)
      if (outcome === 'refused') throw new ConnectionFailed(target.name, { sent: false, cause: undefined })
      progress.sent = true
      // No fewer than the pieces that it comes in.
      const tokens = { input: dice.whole(3, 9), output: Math.min(Number(body.max_tokens), dice.whole(3, 60)) }
      const wasElsewhere = target.ptu && dice.chance(0.3)
      const served = tier === 'flex' && dice.chance(0.8) ? 'flex' : 'default'
      made.taken = TAKEN[outcome]
      if (made.taken !== 'nothing') {
        const read = outcome === 'filtered' ? { ...tokens, output: 0 } : tokens
        made.bill = billOf(read, { model, target, served, wasElsewhere })
      }
      /** The gateway has ended the call before it had heard all. */
      const cut = () => {
        made.taken = 'untold'
      }
      await within(outcome === 'hang' ? Number.POSITIVE_INFINITY : dice.interval(dice.pick([20, 300])), signal).catch(
        (reason: unknown) => {
          cut()
          throw reason
        },
      )
      const answered = (
        status: number,
        headers: Record<string, string>,
        pieces: readonly Piece[],
      ): TransportAnswer => ({
        status,
        headers,
        body: sourceOf(pieces, { wait: () => within(dice.between(0, 50), signal), signal, cut }),
      })
      const failed = (status: number, code: string, headers: Record<string, string> = {}) =>
        answered(status, headers, [JSON.stringify({ error: { message: 'no', code } })])
      switch (outcome) {
        case 'too many':
        case 'overloaded': {
          const waitMs = dice.pick([0, 500, 3_000, 20_000])
          // Without a time, an overloaded server may have worked.
          if (waitMs > 0) made.blocked = { since: now(), until: now() + waitMs }
          const status = outcome === 'too many' || waitMs === 0 ? 429 : 503
          return failed(status, 'busy', waitMs === 0 ? {} : waiting(waitMs, dice, now()))
        }
        case 'error':
          return failed(dice.pick([500, 502, 504]), 'server_error')
        case 'invalid':
          return failed(400, 'invalid_request_error')
        case 'filtered':
          return failed(400, 'content_filter')
        case 'reset':
          throw new ConnectionFailed(target.name, { sent: true, cause: undefined })
        case 'nonsense':
          made.hasBegun = true
          return answered(200, {}, ['{"choices": ['])
        default: {
          made.hasBegun = true
          const isCut = outcome === 'cut'
          const headers = wasElsewhere ? { 'x-ms-spillover-from-ptu': 'yes' } : {}
          const answer = answerOf(target, tokens, served)
          if (body.stream !== true) {
            const text = JSON.stringify(answer)
            return answered(200, headers, isCut ? [text.slice(0, 60), BREAK] : [text])
          }
          const events = eventsOf(answer)
          const pieces: readonly Piece[] = isCut ? [...events.slice(0, dice.whole(1, 2)), BREAK] : events
          return answered(200, { ...headers, 'content-type': 'text/event-stream' }, pieces)
        }
      }
    },
  }
}

function moodOf(dice: Random): string {
  return dice.pick(['well', 'well', 'well', 'busy', 'failing', 'gone', 'strict'])
}

function pickOf(weights: Readonly<Partial<Record<Outcome, number>>>, dice: Random): Outcome {
  let left = dice.between(
    0,
    Object.values(weights).reduce((sum, each) => sum + each, 0),
  )
  for (const [name, weight] of Object.entries(weights)) {
    left -= weight
    if (left < 0) return name as Outcome
  }
  return 'answered'
}

/** In each of the forms that are met. */
function waiting(ms: number, dice: Random, now: number): Record<string, string> {
  if (ms % 1_000 !== 0 || dice.chance(0.4)) return { 'retry-after-ms': String(ms) }
  if (dice.chance(0.5)) return { 'retry-after': String(ms / 1_000) }
  const date = Math.ceil(now / 1_000) * 1_000
  return { date: new Date(date).toUTCString(), 'retry-after': new Date(date + ms).toUTCString() }
}

interface Served {
  readonly model: SimulatedModel
  readonly target: PlacedTarget
  readonly served: string
  /** Whether what was provisioned had no room. */
  readonly wasElsewhere: boolean
}

/** As its own bill has it, in nano-dollars. */
function billOf(
  { input, output }: { readonly input: number; readonly output: number },
  { model: { price }, target, served, wasElsewhere }: Served,
): number {
  if (target.ptu && !wasElsewhere) return 0
  const times = (price.tiers[served] ?? 1) * (target.zone === undefined ? 1 : price.zone)
  // A dollar for a million tokens is a thousand nano-dollars for one.
  return Math.ceil(Math.round((input * price.input + output * price.output) * 1_000 * times * 1_000) / 1_000)
}

function answerOf(target: PlacedTarget, { input, output }: { input: number; output: number }, served: string) {
  return {
    id: 'a',
    object: 'chat.completion',
    created: 0,
    model: target.name,
    service_tier: served,
    choices: [{ index: 0, message: { role: 'assistant', content: `from:${target.name}.` }, finish_reason: 'stop' }],
    usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output },
  }
}

function eventsOf({ choices, usage, object: _, ...head }: ReturnType<typeof answerOf>): string[] {
  const event = (fields: object) =>
    `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', ...fields })}\n\n`
  const content = choices[0]?.message.content ?? ''
  const delta = (delta: object, finish_reason: string | null = null) =>
    event({ choices: [{ index: 0, delta, finish_reason }] })
  return [
    delta({ content: content.slice(0, 7) }),
    delta({ content: content.slice(7) }),
    `${delta({}, 'stop')}${event({ choices: [], usage })}data: [DONE]\n\n`,
  ]
}

/** In the place of a piece: the connection breaks. */
const BREAK: unique symbol = Symbol('break')

type Piece = string | typeof BREAK

interface Sent {
  /** Waited for before each piece but the first. */
  readonly wait: () => Promise<void>
  readonly signal: AbortSignal
  /** Told where it ends before its last piece. */
  readonly cut: () => void
}

function sourceOf(pieces: readonly Piece[], { wait, signal, cut }: Sent): Source<Uint8Array> {
  let at = 0
  let isCancelled = false
  const cancel = () => {
    if (isCancelled) return
    isCancelled = true
    if (at < pieces.length) cut()
  }
  return {
    async read() {
      try {
        if (at > 0 && at < pieces.length) await wait()
        signal.throwIfAborted()
      } catch (reason) {
        cancel()
        throw reason
      }
      if (isCancelled) return undefined
      const piece = pieces[at]
      at += 1
      if (piece === BREAK) throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
      return piece === undefined ? undefined : Buffer.from(piece)
    },
    cancel,
  }
}

/** @throws the signal's reason */
function within(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const timer = Number.isFinite(ms) ? setTimeout(done, ms) : undefined
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      if (signal.aborted) reject(signal.reason)
      else resolve()
    }
    signal.addEventListener('abort', done)
  })
}
