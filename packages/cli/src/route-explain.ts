import {
  bodyFrom,
  type Call,
  type Caller,
  callerOfKey,
  chatCompletions,
  decodedCall,
  type ExplainedChoice,
  type ExplainedModel,
  explainRoute,
  generate,
  isRefusal,
  type OpenAISettings,
  openaiEmbeddings,
  openaiResponses,
  type Policy,
  type PolicyText,
  priceJson,
  type RouteExplanation,
  readPolicyFile,
  resolvePolicyText,
  type Surface,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { withConsumers } from './consumer-directory.ts'
import { checkConsumerId, idOf as idOfKey } from './keys.ts'
import { textHere } from './managing.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'
import { onOneLine } from './printable.ts'
import { type ReadInput, readRequest } from './read-request.ts'
import { PRICE_TITLES, priceCells, UNIT_TEXT } from './shown-price.ts'

export interface RouteExplainOptions {
  readonly file?: string
  /** In the place of the body's own. */
  readonly model?: string
  readonly consumer?: string
  readonly plan?: string
  /** In the place of both: a key's id, or the key itself. */
  readonly key?: string
  readonly surface?: string
  /** `name: value`, each. */
  readonly header?: readonly string[]
  readonly json?: boolean
}

/** Why a request would go where it would go: by the gateway's own `route`, over the policy that is here. */
export async function explainRouteOf(
  options: RouteExplainOptions,
  place: Place,
  readInput: ReadInput,
): Promise<string> {
  const { policy, unset } = await policyOf(place)
  const consumer = await consumerOf(options, policy, place)
  const bytes = await readRequest(options.file, readInput)
  const surface = surfaceOf(options.surface, bytes)
  const call = callOf(surface, bytes, options)
  const explanation = await explainRoute(call, { policy, consumer, maxOutputTokens: MAX_OUTPUT_TOKENS })
  const asked = { model: call.model, consumer, surface: surface.route, unset }
  return options.json ? JSON.stringify(explanationJson(explanation, asked)) : explanationText(explanation, asked)
}

interface Asked {
  /** `undefined` for the route's own. */
  readonly model: string | undefined
  readonly consumer: Caller
  readonly surface: string
  /** Variables of the policy that have no value here, and that say where a target is. */
  readonly unset: readonly string[]
}

/** It bounds an answer, and moves no request. */
const MAX_OUTPUT_TOKENS = 4_096

/** In the place of what is only set where the gateway runs. A URL, since it may be one that is asked for. */
const NOT_SET = 'https://not-set.openai.azure.com'
const NOT_SET_OTHERWISE = 'https://not-set-either.openai.azure.com'

/** Of the model that the `OPENAI_*` settings serve: nothing is asked, so that its place is of no account. */
const OF_SETTINGS: OpenAISettings = {
  kind: 'openai',
  baseUrl: `${NOT_SET}/openai/v1`,
  model: 'settings',
  key: undefined,
}

/** The policy as the gateway has it, but for what is only set where that runs. */
async function policyOf(place: Place): Promise<{ readonly policy: Policy; readonly unset: readonly string[] }> {
  const { root, env } = place
  const text = (await textHere(place)) ?? readPolicyFile({ root, path: env.TOLLGATE_POLICY || undefined })
  const unset = new Set<string>()
  const policy = policyWith(text, env, (name) => {
    unset.add(name)
    return NOT_SET
  })
  const ids = idsOf(policy)
  // A key moves no target: its variable is of no account here.
  const moves = (name: string) =>
    idsOf(policyWith(text, env, (each) => (each === name ? NOT_SET_OTHERWISE : NOT_SET))) !== ids
  return { policy, unset: [...unset].filter(moves) }
}

/** @param inPlaceOf what counts for a variable that is not set */
function policyWith(of: PolicyText | undefined, env: Place['env'], inPlaceOf: (name: string) => string): Policy {
  const anyEnv = new Proxy(env, {
    get(target, name) {
      const value = Reflect.get(target, name) as string | undefined
      return value || typeof name !== 'string' ? value : inPlaceOf(name)
    },
  })
  const bounds = { env: anyEnv, readable: ['*'], hosts: ['*'] }
  return resolvePolicyText(of, { bounds, defaultTarget: OF_SETTINGS })
}

function idsOf({ models }: Policy): string {
  return [...models.values()].flatMap(({ targets }) => targets.map(({ id }) => id)).join()
}

/** Who asks where nobody is named. */
const ANYBODY = 'anybody'

async function consumerOf(
  { consumer, plan, key }: RouteExplainOptions,
  policy: Policy,
  place: Place,
): Promise<Asked['consumer']> {
  if (key !== undefined) {
    if (consumer !== undefined || plan !== undefined) {
      throw new CommandFault('--key says who asks, and on which plan. Leave --consumer and --plan out.')
    }
    return callerBy(idOfKey(key), place)
  }
  if (consumer !== undefined) checkConsumerId(consumer, '--consumer')
  if (plan !== undefined) {
    checkPlan(plan, policy.plans)
    return { id: consumer ?? ANYBODY, plan }
  }
  if (consumer === undefined) {
    if (policy.defaultPlan !== undefined) return { id: ANYBODY, plan: policy.defaultPlan }
    throw new CommandFault(
      'Say whose request it is: the policy has no default plan. Name one by --plan, or a --consumer.',
    )
  }
  const known = await withConsumers(place, (store) => store.findConsumer(consumer))
  if (known !== undefined) return { id: consumer, plan: known.plan }
  throw new CommandFault(
    `There is no consumer '${consumer}'. See: consumers list. Or say which plan it would be on: --plan`,
  )
}

async function callerBy(id: string, place: Place): Promise<Caller> {
  const caller = await withConsumers(place, async (store) => {
    const record = await store.findKey(id)
    const owner = record && (await store.findConsumer(record.consumer))
    return record && owner && callerOfKey(record, owner)
  })
  if (caller !== undefined) return caller
  throw new CommandFault(`There is no key ${id}. See: keys list`)
}

const SURFACES: readonly Surface[] = [chatCompletions, generate, openaiResponses, openaiEmbeddings]

/** By its route's name, or by the fields that only one of them has. @throws CommandFault */
function surfaceOf(named: string | undefined, bytes: Uint8Array): Surface {
  if (named !== undefined) {
    const surface = SURFACES.find(({ route }) => route === named)
    if (surface !== undefined) return surface
    throw new CommandFault(
      `--surface: there is no '${named}'. There are: ${SURFACES.map(({ route }) => route).join(', ')}.`,
    )
  }
  const body = bodyFrom(bytes)
  const fields = typeof body === 'string' ? {} : body.json
  if ('messages' in fields) return chatCompletions
  if ('prompt' in fields) return generate
  if ('store' in fields || 'instructions' in fields) return openaiResponses
  if (!('input' in fields)) return chatCompletions
  throw new CommandFault(
    "Both responses and embeddings have 'input'. Say which it is: --surface responses, or embeddings.",
  )
}

/** @throws CommandFault for a body that the gateway would refuse */
function callOf(surface: Surface, bytes: Uint8Array, { model, header = [] }: RouteExplainOptions): Call {
  const request = {
    method: 'POST',
    url: new URL('http://tollgate/'),
    headers: headersOf(header),
    body: null,
    clientAddress: '',
    signal: new AbortController().signal,
  }
  const decoded = decodedCall(surface, bytes, request, { maxOutputTokens: MAX_OUTPUT_TOKENS })
  if (isRefusal(decoded)) throw new CommandFault(`The gateway would refuse this request: ${decoded.message}`)
  return model === undefined ? decoded.call : { ...decoded.call, model }
}

/** @throws CommandFault for what is no header */
function headersOf(lines: readonly string[]): Headers {
  const headers = new Headers()
  for (const line of lines) {
    const colon = line.indexOf(':')
    try {
      if (colon < 1) throw new TypeError('no name')
      headers.append(line.slice(0, colon).trim(), line.slice(colon + 1).trim())
    } catch {
      throw new CommandFault(`--header: '${line}' is none. Write it as name:value, such as x-size:large.`)
    }
  }
  return headers
}

function explanationJson(
  { choices, models, refusal }: RouteExplanation,
  { model, consumer, surface, unset }: Asked,
): object {
  return {
    asked: { model: model ?? null, surface, consumer: consumer.id, plan: consumer.plan },
    model: models[0]?.model.name ?? null,
    reason: models[0]?.reason ?? null,
    refusal: refusal === undefined ? null : { status: refusal.status, code: refusal.code, message: refusal.message },
    choices,
    models: models.map(({ model, reason, candidates }) => ({
      model: model.name,
      reason,
      candidates: candidates.map(({ target, tier, rank }) => ({
        target: idOf(target),
        rank,
        tier: tier ?? null,
        zone: target.zone ?? null,
        priority: target.priority,
        weight: target.weight,
        price: target.price === undefined ? null : priceJson(target.price),
      })),
    })),
    unset,
  }
}

function explanationText({ choices, models, refusal }: RouteExplanation, asked: Asked): string {
  return [
    headline(models[0], refusal, asked),
    ...choices.map((choice, index) => choiceText(choice, choices.slice(0, index))),
    ...models.map((each, index) => modelText(each, index)),
    ...(asked.unset.length === 0
      ? []
      : [`Not set here, so that the gateway's ids of these targets are other ones: ${asked.unset.join(', ')}.`]),
  ].join('\n\n')
}

/** The settings tell where they serve it, and are not here. */
function idOf({ id, settings }: ExplainedModel['candidates'][number]['target']): string {
  const { baseUrl } = settings as Partial<OpenAISettings>
  return baseUrl === OF_SETTINGS.baseUrl ? 'as OPENAI_* says' : id
}

function headline(first: ExplainedModel | undefined, refusal: RouteExplanation['refusal'], asked: Asked): string {
  const { id, plan } = asked.consumer
  const what =
    asked.model === undefined
      ? `without a model, by ${asked.surface}`
      : `for '${onOneLine(asked.model)}', by ${asked.surface}`
  const who = `A request ${what}, of consumer '${id}' on plan '${plan}',`
  if (first !== undefined) return `${who} goes to model '${first.model.name}': ${first.reason}.`
  return `${who} is refused with ${refusal?.status} (${refusal?.code}): ${onOneLine(refusal?.message ?? '')}`
}

function choiceText({ name, kind, picks, rules }: ExplainedChoice, before: readonly ExplainedChoice[]): string {
  if (before.some((choice) => choice.name === name)) {
    return `The plan does not allow that, or has no place for it: '${name}' picks '${picks}' instead.`
  }
  const said = `'${name}' is ${kind === 'alias' ? 'an alias' : `a ${kind}`}, and picks '${picks}'.`
  if (rules.length === 0) return said
  const table = columns([
    ['  RULE', 'USE', 'HOLDS', 'THE REQUEST HAS'],
    ...rules.map(({ words, use, holds, found }) => [
      `  ${onOneLine(words)}`,
      use,
      holds ? 'yes' : 'no',
      onOneLine(found),
    ]),
  ])
  return `${said} The first rule that holds decides; without one, small serves.\n${table}`
}

function modelText({ model, candidates }: ExplainedModel, index: number): string {
  const what = index === 0 ? `Targets of '${model.name}'` : `Where that fails, fallback '${model.name}'`
  const table = columns([
    ['  RANK', 'TARGET', 'TIER', 'ZONE', 'PRIORITY', 'WEIGHT', ...PRICE_TITLES],
    ...candidates.map(({ target, tier = '', rank }) => [
      `  ${rank}`,
      idOf(target),
      tier,
      target.zone ?? '',
      String(target.priority),
      String(target.weight),
      ...(target.price === undefined ? ['no price'] : priceCells(target.price)),
    ]),
  ])
  return `${what}, the lowest rank first, and among equals by weight (prices: ${UNIT_TEXT}):\n${table}`
}
