import { afterAll, beforeAll, expect, test } from 'vitest'
import { random } from '../simulator/random.ts'
import { type Client, LONG, openClient } from './resilience/client.ts'
import { BILL, type PlayedTarget, PRICE, startPlayedTarget, whole } from './resilience/played-target.ts'

/* A model that is asked at half the price first, where three of ten such calls are turned away. */

const REQUESTS = 300
const AT_ONCE = 12
const FLEX = 0.5
/** As long as some requests come while another's answer is made. */
const ANSWER_MS = 20

let target: PlayedTarget
let client: Client
/** What the target has billed by the tier that served, in nano-dollars; and how many calls it turned away. */
const billed = { flex: 0, default: 0 }
const calls = { flex: 0, default: 0, refused: 0 }
beforeAll(async () => {
  const dice = random(18)
  target = await startPlayedTarget()
  target.play = (call) => {
    const { response, tier } = call
    if (tier === 'flex' && dice.chance(0.3)) {
      calls.refused += 1
      const error = { message: 'Resource unavailable', type: 'rate_limit', code: 'resource_unavailable' }
      const answer = () =>
        response
          .writeHead(429, { 'content-type': 'application/json', 'retry-after-ms': '20' })
          .end(JSON.stringify({ error }))
      return { taken: 'nothing', answer }
    }
    // Now and then what was asked for at half the price is served, and billed, at the usual one.
    const served = tier === 'flex' && dice.chance(0.9) ? 'flex' : 'default'
    calls[served] += 1
    billed[served] += served === 'flex' ? BILL * FLEX : BILL
    return { taken: 'told', answer: () => setTimeout(() => whole(call, { tier: served }), ANSWER_MS) }
  }
  client = await openClient({
    default: {
      targets: [{ openai: { baseUrl: `${target.origin}/v1`, model: 'played', key: { env: 'KEY' } } }],
      price: { ...PRICE, tiers: { flex: FLEX } },
      tiers: ['flex', 'default'],
    },
  })
})
afterAll(async () => {
  await client?.close()
  await target?.close()
})

test('each request is answered within its deadline, and charged by the tier that served', async () => {
  const before = await client.look('How much?', false)
  const got: Awaited<ReturnType<Client['ask']>>[] = []
  let next = 0
  const asking = async () => {
    for (; next < REQUESTS; ) {
      const index = next++
      got.push(await client.ask(`Why ${index}?`, index % 2 === 0))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, asking))
  expect(got.filter(({ status, isBroken }) => status !== 200 || isBroken)).toEqual([])
  expect(Math.max(...got.map(({ ms }) => ms))).toBeLessThan(LONG.totalMs)
  const after = await client.look('How much?', false)
  expect(before.left - after.left).toBe(billed.flex + billed.default)
  expect(got.reduce((sum, { facts }) => sum + (facts.costNanoUsd ?? 0), 0)).toBe(billed.flex + billed.default)
  expect(calls.flex + calls.default).toBe(REQUESTS)
  // Each tier serves, and the half price is turned away again and again.
  expect(Math.min(calls.flex, calls.default)).toBeGreaterThan(10)
  expect(calls.refused).toBeGreaterThan(3)
})
