import { type Consumer, type ConsumerChange, forgetConsumer, PolicyError, showKeyRecord } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { confirm } from './confirm.ts'
import { withConsumers } from './consumer-directory.ts'
import { count, utc } from './figures.ts'
import { checkConsumerId, inStorage, keyTable, SEEN_BY } from './keys.ts'
import { withLedger } from './ledger.ts'
import { policyHere } from './managing.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'

export async function listConsumers(options: { json?: boolean }, place: Place): Promise<string> {
  const [consumers, storage] = await withConsumers(place, async (store, where) => [
    await Array.fromAsync(store.listConsumers()),
    where,
  ])
  const plans = await plansOf(place)
  const sorted = consumers.toSorted((a, b) => a.id.localeCompare(b.id)).map((consumer) => marked(consumer, plans))
  if (options.json) return JSON.stringify(sorted)
  if (sorted.length === 0) {
    return `There are no consumers. Make one: npm run tollgate -- keys create --consumer alice\n\n${inStorage(storage)}`
  }
  const table = columns([
    ['CONSUMER', 'PLAN', 'STATE'],
    ...sorted.map((consumer) => [consumer.id, planText(consumer), state(consumer)]),
  ])
  return [table, inStorage(storage), ...(plans === undefined ? [UNCHECKED] : [])].join('\n\n')
}

/** A consumer whose plan the policy lacks is refused with 403, whatever its state. */
type Marked = Consumer & { readonly planMissing?: true }

const UNCHECKED = 'The policy is refused, so the plans are not held against it: npm start says why.'

/** The policy's plans; `undefined` where it can't be used, since the consumers can be listed all the same. */
async function plansOf(place: Place): Promise<ReadonlyMap<string, unknown> | undefined> {
  try {
    return (await policyHere(place)).plans
  } catch (error) {
    if (error instanceof PolicyError) return undefined
    throw error
  }
}

function marked(consumer: Consumer, plans: ReadonlyMap<string, unknown> | undefined): Marked {
  return plans === undefined || plans.has(consumer.plan) ? consumer : { ...consumer, planMissing: true }
}

function planText({ plan, planMissing }: Marked): string {
  return planMissing ? `${plan} (not in the policy: refused)` : plan
}

export async function showConsumer(id: string, options: { json?: boolean }, place: Place): Promise<string> {
  checkConsumerId(id, '<consumer>')
  const [consumer, records] = await withConsumers(place, async (store) => [
    await store.findConsumer(id),
    await Array.fromAsync(store.listKeys({ consumer: id })),
  ])
  if (consumer === undefined) throw unknownConsumer(id)
  const keys = records.toSorted((a, b) => a.createdAt - b.createdAt).map((key) => showKeyRecord(key, Date.now()))
  const known = marked(consumer, await plansOf(place))
  if (options.json) return JSON.stringify({ ...known, keys })
  const missing = known.planMissing
    ? `\nThe policy has no plan '${consumer.plan}', so all its requests are refused (403). Move it: consumers set ${id} --plan <plan>`
    : ''
  return `${id}: plan '${consumer.plan}', ${state(consumer)}${missing}\n\n${keyTable(keys, 'No keys.')}`
}

export interface ConsumerSetOptions {
  readonly plan?: string
  readonly disable?: boolean
  readonly enable?: boolean
}

export async function setConsumer(id: string, options: ConsumerSetOptions, place: Place): Promise<string> {
  checkConsumerId(id, '<consumer>')
  const { plan, disable, enable } = options
  if (disable && enable) throw new CommandFault('--disable and --enable exclude each other.')
  if (plan === undefined && !disable && !enable)
    throw new CommandFault('Say what to set: --plan, --disable or --enable.')
  const { plans } = await policyHere(place)
  if (plan !== undefined) checkPlan(plan, plans)
  const change: ConsumerChange = {
    ...(plan === undefined ? {} : { plan }),
    ...(disable || enable ? { disabled: disable === true } : {}),
  }
  const consumer = await withConsumers(place, async (store) =>
    (await store.updateConsumer(id, change)) ? store.findConsumer(id) : undefined,
  )
  if (consumer === undefined) throw unknownConsumer(id)
  return `${id}: plan '${consumer.plan}', ${state(consumer)}. ${SEEN_BY}`
}

const FORGET_MS = 10 * 60_000

/** Takes a consumer out of the ledger of usage. */
export async function forgetUsageOf(id: string, { yes }: { readonly yes?: boolean }, place: Place): Promise<string> {
  checkConsumerId(id, '<consumer>')
  await confirm(`Removes all that the ledger of usage keeps of consumer '${id}'.`, id, yes)
  const { rows, changed, againAt, unreadable } = await withLedger(place, (table) =>
    forgetConsumer({
      table,
      consumer: id,
      now: Date.now(),
      signal: AbortSignal.timeout(FORGET_MS),
    }),
  )
  const again =
    againAt === undefined
      ? []
      : [`Its last requests may still be written by an instance: run this again after ${utc(againAt)}.`]
  const unread =
    unreadable.length === 0
      ? []
      : [`What can't be read may still have it: ${unreadable.join(', ')}. Run this again by the version that wrote it.`]
  if (rows + changed === 0) {
    const nothing = `The ledger has nothing of consumer '${id}'. What has just ended may take 10 seconds to be here.`
    return [nothing, ...again, ...unread].join('\n')
  }
  return [
    `Forgotten: ${count(rows)} ${rows === 1 ? 'request' : 'requests'} of consumer '${id}'. What they came to stays in the totals, under (forgotten).`,
    ...again,
    ...unread,
    `Its plan, keys, limits' counters and cached completions stay, and its next request is written down again. ` +
      `To shut it out: consumers set ${id} --disable. To drop its completions: cache purge --consumer ${id}`,
  ].join('\n')
}

function state({ disabled }: Consumer): string {
  return disabled ? 'disabled' : 'active'
}

function unknownConsumer(id: string): CommandFault {
  return new CommandFault(`There is no consumer '${id}'. It is made with its first key: keys create --consumer ${id}`)
}
