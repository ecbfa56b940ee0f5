import { createHmac, randomBytes } from 'node:crypto'
import { AzureNamedKeyCredential } from '@azure/data-tables'
import { expect, test } from 'vitest'
import * as sdk from './sdk.ts'
import { sharedKey } from './shared-key.ts'

test.each([64, 1, 63, 65, 200])('a key of %i bytes signs as the SDK signs with it', async (bytes) => {
  const key = randomBytes(bytes).toString('base64')
  const url = "https://a.table.core.windows.net/t(PartitionKey='%C3%BC''%2F',RowKey='r')?$select=a%2Cb"
  const { headers } = await signed(sharedKey({ name: 'a', key }), url)
  const text = `${headers.get('x-ms-date')}\n/a/t(PartitionKey='%C3%BC''%2F',RowKey='r')`
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')
  expect(headers.get('authorization')).toBe(`SharedKeyLite a:${signature}`)

  const theirs = new sdk.TableClient('https://a.table.core.windows.net', 't', new AzureNamedKeyCredential('a', key))
  const policy = theirs.pipeline.getOrderedPolicies().find(({ name }) => name === 'tablesNamedKeyCredentialPolicy')
  if (policy === undefined) throw new Error('The SDK signs by another policy')
  const request = sdk.createPipelineRequest({
    url,
    headers: sdk.createHttpHeaders({ 'x-ms-date': headers.get('x-ms-date') ?? '' }),
  })
  await policy.sendRequest(request, answered)
  expect(request.headers.get('authorization')).toBe(headers.get('authorization'))
})

const answered = async (request: ReturnType<typeof sdk.createPipelineRequest>) => ({
  request,
  status: 204,
  headers: sdk.createHttpHeaders(),
})

async function signed(policy: ReturnType<typeof sharedKey>, url: string) {
  const request = sdk.createPipelineRequest({ url })
  await policy.sendRequest(request, answered)
  return request
}
