import { expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { modelList } from './index.ts'

async function asked(path: string, models?: readonly string[], refused?: string) {
  const policy = {
    models: new Map([
      ['small', {}],
      ['large', {}],
    ]),
    virtualModels: new Map([['either', {}]]),
  }
  const context = { ...baseContext(), policy }
  const mayAsk = (model: string) => (models?.includes(model) ?? true) && model !== refused
  const list = modelList({ askable: (name) => (name === 'either' ? ['small', 'large'] : [name]).filter(mayAsk) })
  const reply = await list({ ...request, method: 'GET', url: new URL(`http://x${path}`) }, context)
  return reply.kind === 'refusal' ? [reply.status, reply.code] : [reply.status, JSON.parse(await replyText(reply))]
}

const listed = (id: string) => ({ id, object: 'model', created: 0, owned_by: 'tollgate' })

test('a caller sees the models of its plan, and all where that lists none', async () => {
  const all = ['small', 'large', 'either']
  expect(await asked('/api/v1/models')).toEqual([200, { object: 'list', data: all.map(listed) }])
  const some = [listed('small'), listed('either')]
  expect(await asked('/api/openai/models/', ['small'])).toEqual([200, { object: 'list', data: some }])
  expect(await asked('/api/v1/models', [])).toEqual([200, { object: 'list', data: [] }])
})

test('one that its limits refuse each time is not among them', async () => {
  expect(await asked('/api/v1/models', undefined, 'large')).toEqual([
    200,
    { object: 'list', data: [listed('small'), listed('either')] },
  ])
  expect(await asked('/api/v1/models/large', undefined, 'large')).toEqual([404, 'model_not_found'])
})

test('one that it may not ask is none', async () => {
  expect(await asked('/api/v1/models/large')).toEqual([200, listed('large')])
  for (const path of ['/api/v1/models/large', '/api/v1/models/none', '/api/v1/models/%E0']) {
    expect(await asked(path, ['small'])).toEqual([404, 'model_not_found'])
  }
  expect(await asked('/api/v1/models/sm%61ll', ['small'])).toEqual([200, listed('small')])
})
