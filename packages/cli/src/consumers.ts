import { type Consumer, type ConsumerChange, outlinePolicy } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { withConsumers } from './consumer-directory.ts'
import { checkConsumerId, keyTable, SEEN_BY, show } from './keys.ts'
import type { Place } from './place.ts'

export async function listConsumers(options: { json?: boolean }, place: Place): Promise<string> {
  const consumers = await withConsumers(place, (store) => Array.fromAsync(store.listConsumers()))
  const sorted = consumers.toSorted((a, b) => a.id.localeCompare(b.id))
  if (options.json) return JSON.stringify(sorted)
  if (sorted.length === 0) return 'There are no consumers. Make one: npm run tollgate -- keys create --consumer alice'
  return columns([
    ['CONSUMER', 'PLAN', 'STATE'],
    ...sorted.map((consumer) => [consumer.id, consumer.plan, state(consumer)]),
  ])
}

export async function showConsumer(id: string, options: { json?: boolean }, place: Place): Promise<string> {
  checkConsumerId(id, '<consumer>')
  const [consumer, records] = await withConsumers(place, async (store) => [
    await store.findConsumer(id),
    await Array.fromAsync(store.listKeys({ consumer: id })),
  ])
  if (consumer === undefined) throw unknownConsumer(id)
  const keys = records.toSorted((a, b) => a.createdAt - b.createdAt).map(show)
  if (options.json) return JSON.stringify({ ...consumer, keys })
  return `${id}: plan '${consumer.plan}', ${state(consumer)}\n\n${keyTable(keys, 'No keys.')}`
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
  const { plans } = outlinePolicy({ root: place.root, path: place.env.TOLLGATE_POLICY || undefined })
  if (plan !== undefined && !plans.has(plan)) {
    throw new CommandFault(`--plan: the policy has no plan '${plan}'. It has: ${[...plans.keys()].join(', ')}.`)
  }
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

function state({ disabled }: Consumer): string {
  return disabled ? 'disabled' : 'active'
}

function unknownConsumer(id: string): CommandFault {
  return new CommandFault(`There is no consumer '${id}'. It is made with its first key: keys create --consumer ${id}`)
}
