import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { unique } from '../../support/consumers.ts'
import { ROOT, type RunningHost, startHost } from '../../support/host.ts'
import { tableClient } from '../../support/tables.ts'

let stub: RunningHost
beforeAll(async () => {
  stub = await startHost({}, join(ROOT, 'test/bench/gateway/servers/table-service.ts'), /tables at (\S+)/)
})
afterAll(() => stub?.stop('SIGKILL'))

/** What a table answers to all that the gateway's stores ask of one, in this order; times and ETags by whether they differ. */
async function conversation(account: string, partitionKey: string): Promise<unknown[]> {
  const client = tableClient(account, 'tollgatecounters')
  const said: unknown[] = []
  const etags: string[] = []
  const nameOf = (etag: unknown) => {
    if (typeof etag !== 'string') return etag
    if (!etags.includes(etag)) etags.push(etag)
    return `etag ${etags.indexOf(etag)}`
  }
  async function say(asked: Promise<object>): Promise<string> {
    try {
      const { etag, date, timestamp, ...answer } = (await asked) as Record<string, unknown>
      const { clientRequestId, requestId, version, preferenceApplied, contentType, ...told } = answer
      delete told['odata.metadata']
      said.push({ etag: nameOf(etag), dated: date instanceof Date, timed: typeof timestamp, ...told })
      return String(etag)
    } catch (error) {
      const { statusCode, details } = error as { statusCode?: number; details?: { odataError?: { code?: string } } }
      said.push([statusCode, details?.odataError?.code])
      return ''
    }
  }
  const key = { partitionKey, rowKey: "it's" }
  const row = { ...key, text: 'one', at: new Date(1_700_000_000_000), bytes: Buffer.from('one'), count: 1, sure: true }
  const get = () => client.getEntity(partitionKey, key.rowKey)

  await client.createTable().catch(() => {})
  await say(get())
  const first = await say(client.createEntity(row))
  await say(client.createEntity(row))
  await say(get())
  const second = await say(client.updateEntity({ ...row, text: 'two' }, 'Replace', { etag: first }))
  await say(client.updateEntity({ ...row, text: 'late' }, 'Replace', { etag: first }))
  await say(client.updateEntity({ ...key, count: 2 }, 'Merge', { etag: second }))
  await say(get())
  await say(client.upsertEntity({ ...key, text: 'three' }, 'Replace'))
  await say(get())
  await say(client.createEntity({ partitionKey, rowKey: 'other', text: 'four' }))
  const filter = `PartitionKey eq '${partitionKey}'`
  for await (const entity of client.listEntities({ queryOptions: { filter } })) await say(Promise.resolve(entity))
  await say(client.deleteEntity(partitionKey, key.rowKey, { etag: first }))
  await say(client.deleteEntity(partitionKey, key.rowKey))
  await say(client.deleteEntity(partitionKey, key.rowKey))
  await say(client.updateEntity({ ...row }, 'Replace', { etag: second }))
  await say(get())
  return said
}

test('the stub of the table service answers as Azurite does, as far as the stores ask', async () => {
  const partition = unique('stub')
  const [ours, azurites] = [await conversation(stub.url, partition), await conversation(inject('azurite'), partition)]
  expect(azurites.length).toBeGreaterThan(15)
  expect(ours).toEqual(azurites)
})

test('what the stub does not have, it says', async () => {
  const later = tableClient(stub.url, 'tollgatecounters').listEntities({ queryOptions: { filter: 'count ge 1' } })
  await expect(later.next()).rejects.toMatchObject({ statusCode: 501 })
  const missing = tableClient(stub.url, 'tollgatekeys').getEntity('partition', 'row')
  await expect(missing).rejects.toMatchObject({ statusCode: 404, details: { odataError: { code: 'TableNotFound' } } })
})
