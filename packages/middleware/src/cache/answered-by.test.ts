import { describe, expect, test } from 'vitest'
import {
  type Asking,
  cacheRoom,
  completionOf,
  memoryShared,
  RULE,
  streamOf,
} from '../../../../test/support/cache-room.ts'
import type { Reply } from '../operations/index.ts'
import { TARGET_HEADER } from '../pipeline/index.ts'

/* Which target made an answer that is stored or shared, and that it is in no zone that the asker's plan doesn't allow. */

const EU = { target: { id: 'eu-1', identity: 'same', zone: 'eu' } }
const US = { target: { id: 'us-1', identity: 'same', zone: 'us' } }
const NOWHERE = { target: { id: 'nowhere', identity: 'same' } }
const SHARED = { ...RULE, scope: 'shared' } as const
const among = (...candidates: NonNullable<Asking['routed']>['candidates'] & object): Asking => ({
  routed: { candidates, cache: SHARED },
})

const by = (target: string, reply: Reply): Reply => ({ ...reply, headers: { [TARGET_HEADER]: target } })

async function told(asked: ReturnType<ReturnType<typeof cacheRoom>['ask']>) {
  const { reply, status, text } = await asked
  await text()
  return [reply.headers[TARGET_HEADER], /\bhit\b|collapsed/.exec(status ?? '')?.[0] ?? 'miss']
}

describe.each<[string, boolean]>([
  ['whole', false],
  ['streamed', true],
])('an answer that came %s', (_how, stream) => {
  const model = () => by('us-1', stream ? streamOf(['be', 'cause']) : completionOf('because'))

  test('is told to be its target’s, by the one who asked for it, from memory, and in another process', async () => {
    const shared = memoryShared()
    const [here, there] = [cacheRoom({ shared, model }), cacheRoom({ shared, model })]
    const asking = { ...among(EU, US), stream }
    expect(await told(here.ask(asking))).toEqual(['us-1', 'miss'])
    for (const room of [here, there, there]) {
      for (const streamed of [false, true]) {
        expect(await told(room.ask({ ...asking, stream: streamed }))).toEqual(['us-1', 'hit'])
      }
    }
    expect(there.asked()).toBe(0)
  })

  test('is told to be its target’s by those who waited for it', async () => {
    const released = Promise.withResolvers<void>()
    const { ask } = cacheRoom({
      async model() {
        await released.promise
        return model()
      },
    })
    const asking = [false, true, stream].map((streamed) => told(ask({ ...among(EU, US), stream: streamed })))
    released.resolve()
    for (const each of await Promise.all(asking)) expect(each[0]).toBe('us-1')
  })

  test('is none of a plan’s that may not be served there, stored or under way', async () => {
    const { ask, asked } = cacheRoom({ model })
    const under = told(ask({ ...among(EU, US), stream }))
    await Promise.all([under, told(ask({ ...among(EU), stream }))])
    await told(ask({ ...among(EU), stream }))
    expect(asked()).toBe(2)
    await told(ask({ ...among(EU, NOWHERE), stream }))
    await told(ask({ ...among(EU, { ...US, tier: 'flex' }), stream }))
    expect(asked()).toBe(4)
    await told(ask({ ...among(US), stream }))
    expect(asked()).toBe(5)
  })
})

test('where nobody says whose it is, no target is told', async () => {
  const { ask } = cacheRoom()
  for (const outcome of ['miss', 'hit']) expect(await told(ask(among(EU, US)))).toEqual([undefined, outcome])
})
