import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { random } from '../../../../test/simulator/random.ts'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { handClock } from '../../../../test/support/hand-clock.ts'
import { issueKey } from '../auth/index.ts'
import { fromIterable } from '../pipeline/index.ts'
import { livePolicy, policyRevisions, resolvePolicyText } from '../policy/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { generate } from '../surfaces/index.ts'
import { trace } from '../telemetry/index.ts'

/*
 * Several instances, each a whole gateway before a real model, over one table in which the policy is changed a thousand times while they
 * are asked. Each revision names its model by its number, so the model's server knows by which revision a request was let in.
 */

const CHANGES = 1_000
const INSTANCES = 4
const START = Date.UTC(2026, 10, 28)

const model = createServer(async (incoming, response) => {
  let text = ''
  for await (const piece of incoming) text += piece
  const content = (JSON.parse(text) as { readonly model: string }).model
  const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }]
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ choices, usage }))
})
beforeAll(async () => {
  model.listen(0, '127.0.0.1')
  await once(model, 'listening')
})
afterAll(async () => {
  const closed = once(model, 'close')
  model.close()
  model.closeAllConnections()
  await closed
})

/** Every third revision shuts the consumers' plan out of its model. */
const letsIn = (revision: number) => revision % 3 !== 0

function textOf(revision: number, baseUrl: string): string {
  const models = {
    own: { targets: [{ openai: { baseUrl, model: `r${revision}`, key: { env: 'OPENAI_KEY' } } }] },
    other: { targets: [{ openai: { baseUrl, model: 'other', key: { env: 'OPENAI_KEY' } } }] },
  }
  const plan = { limits: [{ requests: 1_000_000, per: '1m' }], models: [letsIn(revision) ? 'own' : 'other'] }
  return JSON.stringify({ plans: { p: plan }, models, routes: { generate: { model: 'own', cache: false } } })
}

test('each request is decided by a revision that was in force within the five seconds before it, at one read in five seconds', async () => {
  const clock = handClock(START)
  const baseUrl = `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1`
  const bounds = { env: { OPENAI_KEY: 'k' }, readable: ['OPENAI_*'], hosts: ['127.0.0.1'] }
  const draw = random(19)
  const inner = memoryTable({ wallClock: clock.time.wallClock })
  const operator = policyRevisions({ table: inner, name: 'p' })

  async function startInstance() {
    const reads: number[] = []
    const table: Table = {
      ...inner,
      read(key, options) {
        reads.push(clock.time.now())
        return inner.read(key, options)
      },
      scan(where, signal) {
        reads.push(clock.time.now())
        return inner.scan(where, signal)
      },
    }
    const faults: unknown[] = []
    const options = { bounds, defaultTarget: undefined }
    const gateway = gatewayOver(resolvePolicyText(undefined, options), {
      policy: livePolicy({
        revisions: policyRevisions({ table, name: 'p' }),
        start: { file: undefined, policy: resolvePolicyText(undefined, options) },
        resolve: (of) => resolvePolicyText(of, options),
        deadlineMs: 2_000,
        time: clock.time,
        log: (level, event, fields) => faults.push({ level, event, ...fields }),
      }),
    })
    const { key } = await issueKey(gateway.consumers, {
      consumer: 'a',
      plan: 'p',
      defaultPlan: 'p',
      plans: ['p'],
      now: Date.now(),
    })
    const entry = trace({ refuse: generate.refuse, handler: () => gateway.handler(generate) })
    let asked = 0
    /** The revision that let it in; `refused` where one did not. */
    async function ask(): Promise<number | 'refused'> {
      const body = fromIterable([Buffer.from(JSON.stringify({ prompt: `${asked++}` }))])
      const headers = new Headers({ 'x-api-key': key, 'content-type': 'application/json' })
      const reply = await entry({ ...request, headers, body }, () => {})
      if (reply.status === 403) return 'refused'
      const text = await replyText(reply)
      expect([reply.status, text]).toEqual([200, expect.stringMatching(/"r\d+"/)])
      return Number(/"r(\d+)"/.exec(text)?.[1])
    }
    return { ask, reads, faults, close: () => gateway.close() }
  }

  /** When each came into force. */
  const since: number[] = [Number.NEGATIVE_INFINITY]
  async function change(): Promise<void> {
    const revision = since.length
    const told = { by: 'ann', from: 'cli', source: 'x' } as const
    since.push(clock.time.now())
    await operator.apply({ text: textOf(revision, baseUrl), ...told }, await operator.look())
  }
  /** Those that were in force at any time from then to now. */
  const inForceSince = (from: number) =>
    since.flatMap((_at, revision) => (revision > 0 && (since[revision + 1] ?? Infinity) >= from ? [revision] : []))

  await change()
  const instances = await Promise.all(Array.from({ length: INSTANCES }, startInstance))
  let [admitted, refused] = [0, 0]
  const seen = new Set<number>()
  try {
    while (since.length <= CHANGES) {
      clock.pass(Math.floor(draw.next() * 3_000))
      // Before, beside or after the requests.
      const at = draw.next()
      if (at < 0.3) await change()
      const changing = at >= 0.3 && at < 0.7 ? change() : undefined
      const asking = instances.filter(() => draw.chance(0.7))
      const decided = await Promise.all(asking.map(({ ask }) => ask()))
      await changing
      const allowed = inForceSince(clock.time.now() - 5_000)
      for (const by of decided) {
        if (by === 'refused') {
          refused += 1
          expect(allowed.some((revision) => !letsIn(revision))).toBe(true)
        } else {
          admitted += 1
          seen.add(by)
          expect(letsIn(by)).toBe(true)
          expect(allowed).toContain(by)
        }
      }
    }
  } finally {
    await Promise.all(instances.map(({ close }) => close()))
  }

  for (const { reads, faults } of instances) {
    expect(faults).toEqual([])
    for (const [n, at] of reads.entries()) {
      if (n > 0) expect(at - (reads[n - 1] ?? 0)).toBeGreaterThanOrEqual(5_000)
    }
  }
  // It has taken what it was to take.
  expect((await operator.history()).length).toBe(since.length - 1)
  expect(admitted).toBeGreaterThan(1_000)
  expect(refused).toBeGreaterThan(300)
  expect(seen.size).toBeGreaterThan(200)
}, 60_000)
