import { expect, test } from 'vitest'
import { streamBody } from '../../../../test/support/base-context.ts'
import { fromIterable, type HttpResponse, toWebResponse } from './index.ts'

const answer = (body: HttpResponse['body']): HttpResponse => ({
  kind: 'response',
  status: 201,
  headers: { a: 'b' },
  body,
})
const streamed = () => streamBody(fromIterable([Buffer.from('one'), Buffer.from(' two')]))

test.each<[string, HttpResponse['body'], string]>([
  ['bytes', Buffer.from('whole'), 'whole'],
  ['a stream', streamed(), 'one two'],
  ['no body', null, ''],
])('an answer of %s is the same to a host that speaks the Fetch API', async (_what, body, text) => {
  const response = toWebResponse(answer(body))
  expect([response.status, response.headers.get('a'), await response.text()]).toEqual([201, 'b', text])
})
