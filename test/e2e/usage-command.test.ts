import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { limiter, outlinePolicy, tableCounterStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, BARE_HOST, cleanEnv, generate, ROOT, startHost } from '../support/host.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* `tollgate usage` and `tollgate why` tell what a host that has ended was asked, from the tables that it wrote. */

const POLICY = 'test/contract/usage.yaml'
const open = openAccount(inject('azurite'))
const [spender, thrifty] = [unique('spender'), unique('thrifty')]
const requestId = unique('their-own-id')
const [tooDear, killed] = [unique('too-dear'), unique('killed')]
let upstream: Upstream
let key: string
/** Of all answers to the one who spends, in nano-dollars, as they themselves told. */
let cost = 0
beforeAll(async () => {
  upstream = await startUpstream()
  const host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: POLICY,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
  key = await newKey(open, spender, 'ample')
  const other = await newKey(open, thrifty, 'single')
  const asking = (as: string, prompt: string, model?: string): Promise<Answer> =>
    generate(host, JSON.stringify({ prompt, model }), { 'x-api-key': as, 'x-request-id': requestId })
  const prompt = unique('prompt')
  for (const each of [prompt, prompt, unique('prompt')]) {
    const { status, headers } = await asking(key, each, 'own')
    expect(status).toBe(200)
    cost += Math.round(Number(headers.get('x-tollgate-cost')) * 1e9)
  }
  expect((await asking(other, unique('prompt'))).status).toBe(200)
  expect((await asking(other, unique('prompt'))).status).toBe(429)
  const tight = await newKey(open, unique('tight'), 'tight')
  const headers = { 'x-api-key': tight, 'x-request-id': tooDear }
  expect((await generate(host, '{"prompt":"a"}', headers)).status).toBe(400)
  await chargeUnwritten()
  // An instance that ends writes its last requests down.
  await host.stop()
})
afterAll(() => upstream?.close())

/** What an instance had charged that was killed before it wrote its last requests down. */
async function chargeUnwritten(): Promise<void> {
  await newKey(open, killed, 'ample')
  const counters = tableCounterStore({ open, now: () => performance.now() })
  const gate = limiter({ store: counters, deadlineMs: 5_000 })
  const limits = outlinePolicy({ root: ROOT, path: POLICY }).plans.get('ample')?.limits ?? []
  const [usd] = limits.filter(({ measure }) => measure === 'money')
  if (usd === undefined) throw new Error('No limit on money')
  const subject = { id: `consumer:${killed}`, limits }
  const decision = await gate.admit([{ subject, limit: usd, units: 2_000_000_000 }])
  if (!decision.admitted) throw new Error('Not admitted')
  decision.settle(() => 1_234_567_890)
  await gate.close()
}

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}
const tollgate = (...args: string[]): Promise<Run> => tollgateWith({}, ...args)
const tollgateWith = (settings: Record<string, string>, ...args: string[]): Promise<Run> =>
  promisify(execFile)(process.execPath, [join(ROOT, 'packages/cli/src/tollgate.ts'), ...args], {
    cwd: ROOT,
    env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: join(ROOT, POLICY), ...settings }),
  }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trimEnd(), err: stderr.trim() }),
    ({ code, stdout, stderr }) => ({ code, out: stdout.trimEnd(), err: stderr.trim() }),
  )

describe('tollgate usage', () => {
  test('is the same as a table, as JSON and as CSV', async () => {
    const asked = ['usage', '--since', '1h', '--consumer', spender]
    const { code, out, err } = await tollgate(...asked)
    expect([code, err]).toEqual([0, ''])
    const lines = out.split('\n')
    expect(lines[0]).toMatch(/^CONSUMER +REQUESTS +HITS +COLLAPSED +REFUSED +FAILED +INPUT +OUTPUT +COST +SAVED$/)
    expect(lines[1]).toMatch(new RegExp(`^${spender} +3 +1 +0 +0 +0 `))
    // The total row has the figures of the only other.
    expect(lines[2]?.replace(/^total +/, '')).toBe(lines[1]?.replace(/^\S+ +/, ''))
    expect(out).toMatch(/\n\nFrom \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC to .* UTC.*\.\n/)
    expect(out).toMatch(/\n\nStorage: the storage account '\w+', by the configured connection string$/)

    const { rows, total } = JSON.parse((await tollgate(...asked, '--json')).out)
    expect(rows).toMatchObject([{ name: spender, requests: 3, hits: 1, costNanoUsd: cost }])
    expect(total).toMatchObject({ requests: 3, costNanoUsd: cost, costUsd: String(cost / 1e9) })

    const csv = (await tollgate(...asked, '--csv')).out.split('\n')
    expect(csv[0]).toMatch(/^"consumer","requests",/)
    expect(csv.slice(1)).toEqual([expect.stringMatching(new RegExp(`^"${spender}",3,3,1,0,0,0,.*,${cost},`))])
  })

  test('by model and by target', async () => {
    const of = ['--since', '1h', '--consumer', thrifty]
    const byModel = (await tollgate('usage', '--by', 'model', ...of)).out
    expect(byModel).toMatch(/^MODEL .*\ndefault +1 .*\n\(no model\) +1 +0 +0 +1 .*\ntotal +2 /)
    const byTarget = (await tollgate('usage', '--by', 'target', ...of)).out
    expect(byTarget).toMatch(/^TARGET +CALLS +FAILED +INPUT +OUTPUT +COST\nopenai:test-model\S* +1 +0 .*\ntotal +1 /)
  })

  test.skipIf(noRedis !== undefined)('holds it against the counters in Redis, where they are there', async () => {
    const redis = await startRedis()
    try {
      const asked = ['usage', '--consumer', spender, '--json']
      const { code, out } = await tollgateWith({ TOLLGATE_REDIS: redis.url }, ...asked)
      expect([code, JSON.parse(out)]).toMatchObject([0, { rows: [{ requests: 3 }], unattributed: null }])
    } finally {
      await redis.close()
    }
    const { code, out, err } = await tollgateWith({ TOLLGATE_REDIS: 'http://localhost' }, 'usage')
    expect([code, out, err]).toEqual([1, '', 'TOLLGATE_REDIS is no redis:// or rediss:// URL.'])
    // A request's story needs neither counters nor a policy.
    const broken = { TOLLGATE_REDIS: 'http://localhost', TOLLGATE_POLICY: 'nowhere.yaml' }
    expect((await tollgateWith(broken, 'why', requestId)).code).toBe(0)
  })

  test('says that there was nothing', async () => {
    expect((await tollgate('usage', '--consumer', unique('nobody'))).out).toMatch(
      /^No requests\. What has just ended may take 10 seconds to be here\.\n\nFrom /,
    )
  })

  test.each([
    [['--by', 'user'], '--by must be consumer, model or target.'],
    [['--since', 'yesterday'], '--since must be a span back from now such as 30m, 12h or 7d'],
    [['--since', '1d', '--until', '2d'], '--since must be before --until.'],
    [['--json', '--csv'], '--json and --csv exclude each other.'],
    [['--form', 'csv'], "unknown option '--form'"],
  ])('%j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate('usage', ...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })
})

describe('tollgate why', () => {
  test('tells the stories of all requests of an id, the newest first', async () => {
    const { code, out, err } = await tollgate('why', requestId)
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(
      /^5 requests have this id, since a caller may choose it\. The newest is the first\.\n\nCAME +CONSUMER/,
    )
    const [, refused = '', answered = '', , hit = '', first = ''] = out.split(`\n\n${'-'.repeat(80)}\n\n`)
    expect(refused).toContain(
      `'${thrifty}', on plan 'single', was refused with 429 (insufficient_quota) by limit 'requests', which had 0 of 1 left,`,
    )
    expect(refused).toMatch(/^ {2}limits +'requests' is spent: refused +[\d.]+ ms$/m)
    expect(answered).toMatch(
      /^'thrifty\S+', on plan 'single', was answered by model 'default' at openai:test-model\S* in /m,
    )
    expect(hit).toMatch(/ was answered from the cache in .*, for \$0, and \$\d\.\d+ saved\.$/m)
    expect(first).toMatch(/^ {2}route +route 'generate'; the request names model 'own' +/m)
    expect(first).toMatch(/^ {2}budget +reserved [\d,]+ input and [\d,]+ output tokens, \$0\.\d+ +/m)
    expect(first).toMatch(/^Reserved: .* Given back: [\d,]+ tokens, \$0\.\d+\.$/m)
    expect(first).toMatch(/^ {2}usd +money +\$4\.\d+ +\$5$/m)
    expect(first).toMatch(/^ {2}input +\d+ +\$1 per million$/m)
    for (const secret of [key, 'sk-upstream-secret', 'echo:']) expect(out).not.toContain(secret)
  })

  test('tells what a budget had no room for, and that the request was given back', async () => {
    const { out } = await tollgate('why', tooDear)
    expect(out).toMatch(
      / was refused with 400 \(request_too_expensive\) by limit 'tokens', which had 500 of 500 left, /,
    )
    expect(out).toMatch(
      /^ {2}budget +wanted \d+ input and 800 output tokens, \$0\.\d+, which 'tokens' never grants: refused +/m,
    )
    expect(out).toContain('What the limits before had taken for it was given back.')
  })

  test('tells a program the same', async () => {
    const rows = JSON.parse((await tollgate('why', requestId, '--json')).out)
    expect(rows).toHaveLength(5)
    expect(rows[0]).toMatchObject({ requestId, consumer: thrifty, status: 429, limit: 'requests' })
    expect(rows[4]).toMatchObject({
      requestId,
      consumer: spender,
      status: 200,
      cache: 'miss',
      costUsd: expect.stringMatching(/^0\.\d+$/),
    })
  })

  test('says where there is none, and what to try', async () => {
    const { code, out, err } = await tollgate('why', `no\u001b[31m-such-id`, '--since', '2h')
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^No request 'no\?\[31m-such-id' came from .* Look further back with --since 30d;/)
  })
})

test('what a limit has charged and no row tells of is unattributed, once its counters have been still for half a minute', async () => {
  const asked = ['usage', '--consumer', killed]
  await expect
    .poll(async () => JSON.parse((await tollgate(...asked, '--json')).out), { timeout: 120_000, interval: 2_000 })
    .toMatchObject({
      rows: [],
      unattributed: [
        { subject: `consumer:${killed}`, limit: 'usd', measure: 'money', nanoUsd: 1_234_567_890, usd: '1.23456789' },
      ],
    })
  const month = new Date().toISOString().slice(0, 7)
  expect((await tollgate(...asked)).out).toContain(
    `Unattributed: charged to these limits, and in no row above.\n  consumer:${killed}: $1.23456789 of limit 'usd' since ${month}-01 00:00:00 UTC\n`,
  )
}, 150_000)

describe('tollgate consumers forget', () => {
  test('asks, and changes nothing where nobody answers', async () => {
    const { code, out, err } = await tollgate('consumers', 'forget', spender)
    expect([code, out]).toEqual([1, ''])
    expect(err).toBe(
      `Removes all that the ledger of usage keeps of consumer '${spender}'. This can't be undone: say --yes.`,
    )
    expect((await tollgate('consumers', 'forget', 'a/b', '--yes')).err).toContain('<consumer>: 1 to 128 letters')
  })

  test('takes its requests and its name, and leaves all sums as they are', async () => {
    const sums = async () =>
      JSON.parse((await tollgate('usage', '--by', 'model', '--model', 'own', '--json')).out).total
    const before = await sums()
    const { code, out, err } = await tollgate('consumers', 'forget', spender, '--yes')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(
      new RegExp(
        `^Forgotten: 3 requests of consumer '${spender}'\\. What they came to stays in the totals, under \\(forgotten\\)\\.\n` +
          `Its last requests may still be written by an instance: run this again after .* UTC\\.\n` +
          `Its plan, keys, limits' counters and cached completions stay, .*consumers set ${spender} --disable`,
      ),
    )
    expect(before).toMatchObject({ requests: 3, costNanoUsd: cost })
    expect(await sums()).toEqual(before)
    expect(JSON.parse((await tollgate('usage', '--consumer', spender, '--json')).out).rows).toEqual([])
    const rows = JSON.parse((await tollgate('why', requestId, '--json')).out)
    expect(rows.map((row: { readonly consumer: string }) => row.consumer)).toEqual([thrifty, thrifty])
    // Too early: an instance may still write what it had recorded.
    expect((await tollgate('consumers', 'forget', spender, '--yes')).out).toMatch(
      new RegExp(
        `^The ledger has nothing of consumer '${spender}'\\. What has just ended may take 10 seconds to be here\\.\n` +
          'Its last requests may still be written by an instance: run this again after .* UTC\\.$',
      ),
    )
  })
})
