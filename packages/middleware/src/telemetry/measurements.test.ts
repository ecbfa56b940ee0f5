import { expect, test } from 'vitest'
import { attempt, finishedRequest } from '../../../../test/support/traced-request.ts'
import { measurementsOf } from './measurements.ts'

const CALL = {
  'gen_ai.operation.name': 'chat',
  'gen_ai.provider.name': 'azure.ai.openai',
  'gen_ai.request.model': 'gpt-5-mini',
  'tollgate.model': 'chat',
}

test('a request with its call adds to each metric once', () => {
  expect(measurementsOf(finishedRequest({ facts: { attempts: [attempt({ firstTokenMs: 250 })] } }))).toEqual([
    {
      metric: 'tollgate.requests',
      value: 1,
      attributes: { 'tollgate.model': 'chat', 'tollgate.outcome': 'answered', 'tollgate.cache': 'miss' },
    },
    { metric: 'gen_ai.client.operation.duration', value: 1.2345, attributes: CALL },
    { metric: 'gen_ai.client.operation.time_to_first_chunk', value: 0.25, attributes: CALL },
    { metric: 'gen_ai.client.token.usage', value: 100, attributes: { ...CALL, 'gen_ai.token.type': 'input' } },
    { metric: 'gen_ai.client.token.usage', value: 20, attributes: { ...CALL, 'gen_ai.token.type': 'output' } },
    { metric: 'tollgate.cost', value: 123_456, attributes: { 'tollgate.model': 'chat' } },
  ])
})

test('it is counted whether its trace is kept or not; a call that went on is no request', () => {
  const { trace: _, ...untraced } = finishedRequest()
  expect(measurementsOf(untraced).map(({ metric }) => metric)).toContain('tollgate.requests')
  expect(measurementsOf(finishedRequest({ call: 1 })).map(({ metric }) => metric)).not.toContain('tollgate.requests')
})

test.each([
  [{ code: 'timeout' }, 'timeout'],
  [{ status: 503 }, '503'],
  [{ status: 400, code: 'a code of some service' }, '_OTHER'],
  [{ status: 999 }, '_OTHER'],
  [{}, '_OTHER'],
])('a failure (%j) is counted under a word of a known set: %s', (failure, expected) => {
  const [, duration] = measurementsOf(finishedRequest({ facts: { attempts: [attempt({ failure })] } }))
  expect(duration?.attributes['error.type']).toBe(expected)
})

test('no dimension is of a consumer, a key or a request', () => {
  const secrets = ['alice', 'pro', 'r-1', '0af7651916cd43dd8448eb211c80319c']
  const text = JSON.stringify(measurementsOf(finishedRequest()))
  for (const secret of secrets) expect(text).not.toContain(`"${secret}"`)
})
