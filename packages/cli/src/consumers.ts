import {
  forgetUsage,
  listConsumers as listConsumersAction,
  listKeys,
  type ManageOutput,
  setConsumer as setConsumerAction,
  showConsumer as showConsumerAction,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { confirm } from './confirm.ts'
import { count, utc } from './figures.ts'
import { inStorage, keyTable, SEEN_BY } from './keys.ts'
import { managing } from './managing.ts'
import type { Place } from './place.ts'

type ShownConsumer = ManageOutput<typeof showConsumerAction>

export async function listConsumers(options: { json?: boolean }, place: Place): Promise<string> {
  const consumers: ShownConsumer[] = []
  let storage = ''
  for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
    const { output, storage: where } = await managing(
      listConsumersAction,
      cursor === undefined ? {} : { cursor },
      place,
    )
    consumers.push(...output.consumers)
    cursor = output.next
    storage = where
  }
  const sorted = consumers.toSorted((a, b) => a.id.localeCompare(b.id))
  if (options.json) return JSON.stringify(sorted.map(marked))
  if (sorted.length === 0) {
    return `There are no consumers. Make one: npm run tollgate -- keys create --consumer alice\n\n${inStorage(storage)}`
  }
  const table = columns([
    ['CONSUMER', 'PLAN', 'STATE'],
    ...sorted.map((consumer) => [consumer.id, planText(consumer), state(consumer)]),
  ])
  const isChecked = sorted.every(({ planMissing }) => planMissing !== undefined)
  return [table, inStorage(storage), ...(isChecked ? [] : [UNCHECKED])].join('\n\n')
}

const UNCHECKED = 'The policy is refused, so the plans are not held against it: npm start says why.'

/** A consumer whose plan the policy lacks is refused with 403, whatever its state: of all others that is not said. */
function marked({ planMissing, ...consumer }: ShownConsumer): object {
  return planMissing ? { ...consumer, planMissing } : consumer
}

function planText({ plan, planMissing }: ShownConsumer): string {
  return planMissing ? `${plan} (not in the policy: refused)` : plan
}

export async function showConsumer(id: string, options: { json?: boolean }, place: Place): Promise<string> {
  const { output: consumer } = await managing(showConsumerAction, { consumer: id }, place)
  const {
    output: { keys },
  } = await managing(listKeys, { consumer: id }, place)
  if (options.json) return JSON.stringify({ ...marked(consumer), keys })
  const missing = consumer.planMissing
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
  const { plan, disable, enable } = options
  if (disable && enable) throw new CommandFault('--disable and --enable exclude each other.')
  if (plan === undefined && !disable && !enable)
    throw new CommandFault('Say what to set: --plan, --disable or --enable.')
  const change = {
    ...(plan === undefined ? {} : { plan }),
    ...(disable || enable ? { disabled: disable === true } : {}),
  }
  const { output } = await managing(setConsumerAction, { consumer: id, ...change }, place)
  return `${id}: plan '${output.plan}', ${state(output)}. ${SEEN_BY}`
}

const FORGET_MS = 10 * 60_000

/** Takes a consumer out of the ledger of usage. */
export async function forgetUsageOf(id: string, { yes }: { readonly yes?: boolean }, place: Place): Promise<string> {
  await confirm(`Removes all that the ledger of usage keeps of consumer '${id}'.`, id, yes)
  const { output } = await managing(forgetUsage, { consumer: id }, place, { timeoutMs: FORGET_MS })
  const { requests, changed, againAt, unreadable } = output
  const again =
    againAt === undefined
      ? []
      : [`Its last requests may still be written by an instance: run this again after ${utc(Date.parse(againAt))}.`]
  const unread =
    unreadable.length === 0
      ? []
      : [`What can't be read may still have it: ${unreadable.join(', ')}. Run this again by the version that wrote it.`]
  if (requests + changed === 0) {
    const nothing = `The ledger has nothing of consumer '${id}'. What has just ended may take 10 seconds to be here.`
    return [nothing, ...again, ...unread].join('\n')
  }
  return [
    `Forgotten: ${count(requests)} ${requests === 1 ? 'request' : 'requests'} of consumer '${id}'. What they came to stays in the totals, under (forgotten).`,
    ...again,
    ...unread,
    `Its plan, keys, limits' counters and cached completions stay, and its next request is written down again. ` +
      `To shut it out: consumers set ${id} --disable. To drop its completions: cache purge --consumer ${id}`,
  ].join('\n')
}

function state({ disabled }: Pick<ShownConsumer, 'disabled'>): string {
  return disabled ? 'disabled' : 'active'
}
