import {
  dollarsText,
  isWritten,
  type Price,
  type TokenUsage,
  type UsageAttempt,
  type UsageRow,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { count, duration, exactDollars, utc } from './figures.ts'
import { onOneLine } from './printable.ts'

/* One request, told to a person: what became of it in a sentence, then each step, the limits, and what it cost. */

export function requestStory(row: UsageRow): string {
  return [
    `Request ${onOneLine(row.requestId)}, ${utc(row.startedAt)}`,
    outcomeText(row),
    ...(row.steps.length === 0 ? [] : [stepsText(row)]),
    ...limitsText(row),
    ...shadowText(row),
    ...costText(row),
    markText(row),
  ].join('\n\n')
}

function outcomeText(row: UsageRow): string {
  const { consumer, plan, dryRun } = row
  const who = consumer === undefined ? 'A caller without a valid key' : `${quoted(consumer)}, on plan ${quoted(plan)},`
  return dryRun
    ? `${who} asked what would become of a request. ${verdictText(row)}A dry run takes nothing, and asks no model.`
    : `${who} ${becameOf(row)}`
}

/** What the shadow revision of the policy would have done. */
function shadowText({ shadow, wouldRefuse }: UsageRow): string[] {
  if (shadow === undefined) return []
  const [code = '', ...limit] = (wouldRefuse ?? '').split(' ')
  const by = limit.length === 0 ? '' : ` by limit ${quoted(limit.join(' '))}`
  const known = words(wouldRefuse ?? '', {
    '': 'would have let it through',
    unknown: 'had not decided when it ended: what it would have done is not known',
  })
  return [`The shadow revision ${onOneLine(shadow)} ${known ?? `would have refused it with ${onOneLine(code)}${by}`}.`]
}

function verdictText({ verdict }: UsageRow): string {
  if (verdict === undefined) return ''
  const known = words(verdict, {
    model_asked: 'It would be let through, and the model be asked',
    answered_from_cache: 'It would be answered from the cache',
  })
  return `${known ?? `It would be refused (${onOneLine(verdict)})`}. `
}

function becameOf(row: UsageRow): string {
  const { call, outcome, status, refusal, stream, ms } = row
  const took = duration(ms)
  if (call > 0) {
    return `had left, and the call ${modelText(row)}went on for others that had asked the same: ${took}${priceTag(row)}.`
  }
  if (status === CLIENT_LEFT) return `left before the answer began, after ${took}${priceTag(row)}.`
  if (outcome === 'refused')
    return `was refused with ${status}${codeText(refusal)}${fieldText(row)}${byLimit(row)}, after ${took}.${comeBack(row)}`
  if (stream === 'broken') return `got a part of a stream, which broke off after ${took}${priceTag(row)}.`
  if (outcome === 'failed')
    return `got a failure, ${status}${codeText(refusal)}, after ${took}${priceTag(row)}.${comeBack(row)}`
  if (stream === 'client_left') return `left while the stream was sent, after ${took}${priceTag(row)}.`
  return `was answered ${answererText(row)}in ${took}${priceTag(row)}.`
}

const CLIENT_LEFT = 499

function codeText(code: string | undefined): string {
  return code === undefined ? '' : ` (${onOneLine(code)})`
}

function fieldText({ param }: UsageRow): string {
  return param === undefined ? '' : ` for its field ${quoted(param)}`
}

function comeBack({ retryAfterMs, startedAt, ms }: UsageRow): string {
  if (retryAfterMs === undefined) return ''
  return ` It was told to come back in ${duration(retryAfterMs)}, at ${utc(startedAt + ms + retryAfterMs)}.`
}

function byLimit({ limit, left = [] }: UsageRow): string {
  if (limit === undefined) return ''
  const asked = left.findLast((each) => each.limit === limit)
  const room =
    asked &&
    `, which had ${unitsText(asked.left, asked.measure)} of ${unitsText(asked.most ?? asked.of, asked.measure)} left`
  return ` by limit ${quoted(limit)}${room ?? ''}`
}

function answererText(row: UsageRow): string {
  const { cache, attempts } = row
  if (cache === 'hit') return 'from the cache '
  if (cache === 'collapsed') return 'by the call of another request for the same, which was under way, '
  const { target } = attempts?.findLast(({ code }) => code === undefined) ?? {}
  return `${row.model === undefined ? '' : `by model ${quoted(row.model)} `}${target === undefined ? '' : `at ${onOneLine(target)} `}`
}

function modelText({ model }: UsageRow): string {
  return model === undefined ? '' : `to model ${quoted(model)} `
}

/** What it cost, where that is known, and what the cache saved. */
function priceTag({ costNanoUsd, savedNanoUsd, cache, attempts }: UsageRow): string {
  const saved = savedNanoUsd === undefined ? '' : `, and ${exactDollars(savedNanoUsd)} saved`
  if (costNanoUsd !== undefined) return `, for ${exactDollars(costNanoUsd)}${saved}`
  if (cache === 'hit' || cache === 'collapsed') return `, for $0${saved}`
  return attempts?.some(({ usage }) => usage !== undefined) ? ', at a cost that is not known, for want of a price' : ''
}

function stepsText(row: UsageRow): string {
  const { attempts = [], steps } = row
  const lastBudget = steps.findLastIndex(({ name }) => name === 'budget')
  let [asked, settled] = [0, 0]
  const lines = steps.map(({ name, decision, ms }, index) => {
    let of: StepOf = { attempts: [], isLast: index >= lastBudget }
    if (name === 'attempts' && !WITHOUT_CALL.has(decision)) {
      of = { ...of, attempts: attempts.slice(asked, asked + 1) }
      asked += 1
    } else if (name === 'settle') {
      of = { ...of, attempts: attempts.slice(settled, asked) }
      settled = asked
    }
    const text = STEPS[name]?.(decision, row, of) ?? decision
    return [`  ${onOneLine(name)}`, onOneLine(text), duration(ms)]
  })
  return columns([['  STEP', 'DECISION', 'TOOK'], ...lines.filter((_, index) => isTold(row, steps[index]?.name))])
}

/** Where no target was asked, so that no call belongs to the step. */
const WITHOUT_CALL: ReadonlySet<string> = new Set(['blocked', 'cannot'])

/** A dry run gives back what it never took: its settlement says nothing. */
function isTold({ dryRun }: UsageRow, name: string | undefined): boolean {
  return !(dryRun && name === 'settle')
}

interface StepOf {
  /** The call that the step tells of; of a settlement, the calls that it settles. */
  readonly attempts: readonly UsageAttempt[]
  /** No model is fallen back on after it: what the row says of a reservation is of the last model's. */
  readonly isLast: boolean
}

/** Each step's decision in words; a decision that isn't known stands as it is told. */
type InWords = (decision: string, row: UsageRow, of: StepOf) => string | undefined

const STEPS: Readonly<Record<string, InWords>> = {
  key: (decision, { consumer, plan }) =>
    words(decision, {
      known: `of ${quoted(consumer)}, on plan ${quoted(plan)}`,
      insufficient_scope: `of ${quoted(consumer)}, and of another scope than this asks for: refused`,
      invalid_api_key: 'none, or not a valid one: refused',
    }),
  limits: (decision, { limit }) =>
    words(decision, {
      admitted: 'had room',
      unchecked: 'not checked, since their counters could not be reached; the policy lets requests go on',
      rate_limit_exceeded: `${quoted(limit)} has no room now: refused`,
      insufficient_quota: `${quoted(limit)} is spent: refused`,
      plan_unavailable: 'the policy does not have the plan: refused',
    }),
  body: (decision, { surface, operation, streamed }) =>
    decision === 'decoded'
      ? `${operation ?? 'a call'} by ${surface ?? 'an unknown surface'}${streamed ? ', to be streamed' : ''}`
      : `refused: ${decision}`,
  route: (decision, row) => {
    const { route } = row
    const known = routedModel(decision, row)
    const model = quoted(known)
    const named = known === ANOTHER ? known : `model ${model}`
    return (
      words(decision, {
        default: `route ${quoted(route)}, whose model is ${known === ANOTHER ? 'another' : model}`,
        named: `route ${quoted(route)}; the request names ${named}`,
        fallback: `the model before failed: its fallback, ${model}, is asked`,
        not_configured: 'the model of the route is served nowhere: refused',
        model_not_found: 'the policy does not have the model: refused',
        route_not_allowed: 'the key may not ask this route: refused',
        model_not_allowed: `the plan, or the key, does not list model ${model}, or what it picks from: refused`,
        zone_not_allowed: `model ${model} is served in no zone of the plan, or of the key: refused`,
        tier_not_allowed: 'the plan does not list the service tier: refused',
        tool_not_allowed: 'the plan does not list a hosted tool: refused',
        field_not_allowed: 'a field may choose what the plan does not list: refused',
      }) ?? `route ${quoted(route)}; ${named} was picked, by ${decision}`
    )
  },
  cache: (decision) =>
    words(decision, {
      hit: 'has the answer',
      'hit: a refusal': "has the service's refusal of the same",
      miss: 'does not have it: the model is asked',
      collapsed: 'the same is being asked already: it waits for that answer',
      'bypass: off': 'not looked at: the route has no cache',
      'bypass: sampled': 'not looked at: the answer is sampled, and the route does not keep such',
      not_cached: "has nothing, and the request's only-if-cached asks for nothing else: refused",
    }),
  budget: (decision, { reserved, limit, dryRun }, { isLast }) =>
    words(decision, {
      reserved: `${dryRun ? 'would reserve' : 'reserved'} ${isLast ? reservedText(reserved) : 'the most that a call can take'}`,
      clamped: `${dryRun ? 'would reserve' : 'reserved'} ${reservedText(reserved)}: less output than was asked for, since a budget has no more`,
      none: 'no limit on tokens or money',
      unchecked: 'not checked, since the counters could not be reached; the policy lets requests go on',
      rate_limit_exceeded: `wanted ${reservedText(reserved)}, for which ${quoted(limit)} has no room now: refused`,
      insufficient_quota: `wanted ${reservedText(reserved)}, which ${quoted(limit)} has not left: refused`,
      request_too_expensive: `wanted ${reservedText(reserved)}, which ${quoted(limit)} never grants: refused`,
      input_unbounded: 'nobody can say how many tokens the input has: refused',
      model_not_priced: 'the model has no price, and a limit on money holds: refused',
    }),
  attempts(decision, _row, { attempts: [attempt] }) {
    if (decision === 'blocked') return 'no target may be asked now: each is blocked, or its breaker is open'
    if (decision === 'cannot') return 'no target can be asked in this way: refused'
    const at = attempt === undefined ? '' : `${attempt.target} `
    const status = attempt?.status === undefined ? '' : `, status ${attempt.status}`
    if (decision === 'answered') return `${at}answered`
    if (decision !== 'streaming') return `${at}failed: ${decision}${status}`
    return attempt?.code === undefined ? `${at}began to stream` : `${at}began to stream, and failed: ${attempt.code}`
  },
  settle: (decision, row, { attempts }) =>
    words(decision, {
      certain: attempts.some(({ usage }) => usage !== undefined)
        ? 'charged what the model told'
        : 'charged nothing, since no call took anything',
      'not counted': 'charged to no limit, since none counts tokens or money',
      uncertain: `charged all that was reserved, since the model did not tell what it took${row.reserved ? '' : ': nothing was'}`,
    }),
  store: (decision) =>
    words(decision, {
      stored: 'kept, to answer the same again',
      'not stored': 'not kept: the store did not take it',
      'not storable': 'not kept: it is no whole answer, or one that the route does not keep',
    }),
}

/** The row has the model that served: of one that failed before, the first call tells. */
function routedModel(decision: string, { model, steps, attempts }: UsageRow): string | undefined {
  const fellBack = steps.findIndex((step) => step.name === 'route' && step.decision === 'fallback')
  if (fellBack < 0 || decision === 'fallback') return model
  const wasAsked = steps.slice(0, fellBack).some((step) => step.name === 'attempts' && !WITHOUT_CALL.has(step.decision))
  return (wasAsked ? attempts?.[0]?.model : undefined) ?? ANOTHER
}

/** One that was never asked, so that the row doesn't name it. */
const ANOTHER = 'another model'

function words(decision: string, known: Readonly<Record<string, string>>): string | undefined {
  return Object.hasOwn(known, decision) ? known[decision] : undefined
}

function reservedText(reserved: UsageRow['reserved']): string {
  if (reserved === undefined) return 'nothing'
  const { input, output, costNanoUsd } = reserved
  const money = costNanoUsd === undefined ? '' : `, ${exactDollars(costNanoUsd)}`
  return `${count(input)} input and ${count(output)} output tokens${money}`
}

/** Where each limit stood when it was asked, and what went back to them. */
function limitsText(row: UsageRow): string[] {
  const { left = [] } = row
  const table = columns(
    [
      ['  LIMIT', 'COUNTS', 'LEFT', 'QUOTA'],
      ...left.map(({ limit, measure, of, most, left: units }) => [
        `  ${onOneLine(limit)}`,
        onOneLine(measure),
        unitsText(units, measure),
        most === undefined ? unitsText(of, measure) : `${unitsText(of, measure)}, up to ${unitsText(most, measure)}`,
      ]),
    ],
    2,
  )
  const back = givenBack(row)
  return [
    ...(left.length === 0 ? [] : [`Limits, and what each had left:\n${table}`]),
    ...(back === undefined ? [] : [back]),
  ]
}

function unitsText(units: number, measure: string): string {
  return measure === 'money' ? `$${dollarsText(units)}` : count(units)
}

function givenBack(row: UsageRow): string | undefined {
  const { attempts = [], steps, reserved, usage, costNanoUsd, uncertain, outcome, dryRun } = row
  if (dryRun) return undefined
  const decisions = steps.filter(({ name }) => name === 'limits' || name === 'budget').map(({ decision }) => decision)
  const last = decisions.at(-1) ?? ''
  if (outcome === 'refused' && decisions[0] === 'admitted' && BY_LIMITS.has(last)) {
    return 'What the limits before had taken for it was given back.'
  }
  const settlements = steps.filter(({ name }) => name === 'settle').length
  // What the model before a fallback had reserved, the row doesn't say.
  if (reserved === undefined || settlements !== 1) return undefined
  const what = `Reserved: ${reservedText(reserved)}.`
  if (uncertain && attempts.filter((attempt) => attempt.usage !== undefined).length > 1) {
    return `Reserved for each call: ${reservedText(reserved)}. A call that did not tell what it took counts as that.`
  }
  if (uncertain) return `${what} All of it counts as spent, and nothing was given back.`
  const tokens = Math.max(0, reserved.input + reserved.output - (usage?.input ?? 0) - (usage?.output ?? 0))
  const money = reserved.costNanoUsd === undefined ? undefined : Math.max(0, reserved.costNanoUsd - (costNanoUsd ?? 0))
  return `${what} Given back: ${count(tokens)} tokens${money === undefined ? '' : `, ${exactDollars(money)}`}.`
}

const BY_LIMITS: ReadonlySet<string> = new Set(['rate_limit_exceeded', 'insufficient_quota', 'request_too_expensive'])

/** Of each call that took something: how many tokens, at which price. */
function costText({ attempts = [], toolCalls }: UsageRow): string[] {
  const calls = attempts.flatMap((attempt) => (attempt.usage === undefined ? [] : [callCost(attempt, attempt.usage)]))
  const tools = Object.entries(toolCalls ?? {}).map(([tool, calls]) => `${count(calls)} of ${onOneLine(tool)}`)
  return [...calls, ...(tools.length === 0 ? [] : [`Calls of hosted tools: ${tools.join(', ')}.`])]
}

function callCost({ target, usage: _, ...attempt }: UsageAttempt, usage: TokenUsage): string {
  const { costNanoUsd, tier, spillover, ms, firstTokenMs } = attempt
  const price = attempt.price as Price | undefined
  const cost = costNanoUsd === undefined ? 'has no price' : exactDollars(costNanoUsd)
  const began = firstTokenMs === undefined ? '' : `, the first token after ${duration(firstTokenMs)}`
  const by = spillover === undefined ? '' : `, served by ${onOneLine(spillover)} in its place`
  const rows = Object.entries(disjoint(usage)).map(([kind, tokens]) => {
    const pico = price?.rates[kind]
    return [`  ${onOneLine(kind)}`, count(tokens), pico === undefined ? '' : `$${pico / PICO_IN_MILLIONTH} per million`]
  })
  const more = moreOf(price, tier)
  return [
    `Call to ${onOneLine(target)}: ${cost}, in ${duration(ms)}${began}${by}.`,
    ...(rows.length === 0 ? [] : [columns([['  TOKENS', 'COUNT', 'PRICE'], ...rows], 1)]),
    ...(more === '' ? [] : [`  The price also depends on ${more}.`]),
  ].join('\n')
}

const PICO_IN_MILLIONTH = 1e6

/** Kinds that add up to all: what was read and of no other kind, and so on. */
function disjoint({ input, output, reasoning: _, ...others }: TokenUsage): Readonly<Record<string, number>> {
  const kinds = Object.entries(others)
  const sum = (written: boolean) =>
    kinds.reduce((all, [kind, tokens]) => (isWritten(kind) === written ? all + tokens : all), 0)
  const all = { input: input - sum(false), ...others, output: output - sum(true) }
  return Object.fromEntries(Object.entries(all).filter(([, tokens]) => tokens > 0))
}

function moreOf(price: Price | undefined, tier: string | undefined): string {
  return [
    ...(price?.above === undefined ? [] : [`whether more than ${count(price.above.tokens)} tokens were read`]),
    ...(tier === undefined ? [] : [`the service tier, ${onOneLine(tier)}`]),
    ...(price?.zone === undefined ? [] : ["the target's zone"]),
    ...(price?.tools === undefined ? [] : ['calls of hosted tools']),
  ].join(', ')
}

/** By what else it can be looked for. */
function markText({ policy, promptHash, firstTokenMs }: UsageRow): string {
  return [
    ...(firstTokenMs === undefined ? [] : [`First byte of the stream: after ${duration(firstTokenMs)}.`]),
    ...(policy === undefined ? [] : [`Policy: revision ${onOneLine(policy)}.`]),
    ...(promptHash === undefined ? [] : [`Prompt: hash ${onOneLine(promptHash)}, the same for the same prompt.`]),
  ].join('\n')
}

function quoted(name: string | undefined): string {
  return `'${onOneLine(name ?? '')}'`
}
