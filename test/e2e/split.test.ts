import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { generate, type RunningHost, startHost } from '../support/host.ts'
import { type Lambda, startLambda } from '../support/lambda.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * The case that all began with: one address for callers, 90 parts of them to a model as Azure has it, 10 to another team's on AWS
 * Lambda, which checks each request's signature. No caller sees which, unless it looks.
 */

const KEYS = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const CALLERS = 200
const open = openAccount(inject('azurite'))
let azure: Upstream
let lambda: Lambda
let host: RunningHost
let keys: string[]

beforeAll(async () => {
  azure = await startUpstream()
  lambda = await startLambda(KEYS)
  host = await startHost({
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: 'test/e2e/split.yaml',
    TOLLGATE_TARGET_HOSTS: '127.0.0.1',
    TOLLGATE_POLICY_ENV: 'PLAYED_*,AWS_*',
    PLAYED_AZURE: azure.origin,
    PLAYED_AZURE_KEY: 'azure-key',
    PLAYED_LAMBDA: lambda.url,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    TOLLGATE_CACHE_DEADLINE_MS: '2000',
    TOLLGATE_STORE_DEADLINE_MS: '20000',
  })
  keys = await Promise.all(Array.from({ length: CALLERS }, () => newKey(open, unique('split'), 'default')))
})
afterAll(async () => {
  await host?.stop()
  await Promise.all([azure?.close(), lambda?.close()])
})
beforeEach(() => {
  azure.calls.length = 0
  azure.reply = answering()
  lambda.calls.length = 0
})

const ask = (key: string | undefined, body: object) =>
  generate(host, JSON.stringify(body), { 'x-api-key': String(key) })

test('90 of 100 callers are served by the one and 10 by the other, each by the same one again', async () => {
  const first = new Map<string, string | null>()
  for (const round of [1, 2]) {
    for (let at = 0; at < CALLERS; at += 20) {
      await Promise.all(
        keys.slice(at, at + 20).map(async (key) => {
          const prompt = unique(`round-${round}`)
          const { status, body, headers } = await ask(key, { prompt })
          expect(status).toBe(200)
          const model = headers.get('x-tollgate-model')
          expect(headers.get('x-tollgate-reason')).toContain('split')
          const { completion } = (body as { readonly data: { readonly completion: string } }).data
          expect(completion).toBe(model === 'lambda' ? `lambda: ${prompt}` : `echo: ${prompt}`)
          if (round === 1) first.set(key, model)
          else expect(model).toBe(first.get(key))
        }),
      )
    }
  }
  expect(azure.calls.length + lambda.calls.length).toBe(2 * CALLERS)
  // Of 200 callers 20 are expected there; four standard deviations of a fair draw are 17.
  expect(lambda.calls.length / 2).toBeGreaterThan(3)
  expect(lambda.calls.length / 2).toBeLessThan(37)
  expect(lambda.refusals).toEqual([])
  expect(azure.calls.every(({ headers }) => headers['api-key'] === 'azure-key' || headers.authorization)).toBe(true)
})

test('what one of them answered is never the other’s', async () => {
  const prompt = unique('same')
  const answers = new Map<string | null, Set<string>>()
  for (const key of keys) {
    const { body, headers } = await ask(key, { prompt })
    const said = answers.get(headers.get('x-tollgate-model')) ?? new Set<string>()
    said.add((body as { readonly data: { readonly completion: string } }).data.completion)
    answers.set(headers.get('x-tollgate-model'), said)
  }
  expect(Object.fromEntries(answers)).toEqual({
    azure: new Set([`echo: ${prompt}`]),
    lambda: new Set([`lambda: ${prompt}`]),
  })
})

test('a signature with a key that AWS doesn’t know is that model’s failure alone', async () => {
  const { expected } = lambda
  lambda.expected = { ...expected, secretAccessKey: 'rotated' }
  try {
    const statuses = new Map<string, Set<number>>()
    for (const key of keys.slice(0, 60)) {
      const { status, headers } = await ask(key, { prompt: unique('rotated') })
      const model = headers.get('x-tollgate-model') ?? '-'
      statuses.set(model, (statuses.get(model) ?? new Set()).add(status))
    }
    expect(statuses.get('azure')).toEqual(new Set([200]))
    expect([...(statuses.get('lambda') ?? [502])]).toEqual([502])
  } finally {
    lambda.expected = expected
  }
})
