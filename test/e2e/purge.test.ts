import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { OpenTable } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Azurite, startAzurite } from '../support/azurite.ts'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount, tableClient } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* Two hosts over the same tables, and the command that purges what they have stored. */

/** What the command promises. */
const WITHIN_MS = 5_000
const PLANS = 'plans: { ample: { limits: [ { requests: 100000, per: 1m } ] } }\n'

/** Its own, since a purge of everything concerns everybody. */
let azurite: Azurite
let open: OpenTable
let upstream: Upstream
let folder: string
let settings: Record<string, string>
let hosts: readonly [RunningHost, RunningHost]
beforeAll(async () => {
  ;[azurite, upstream] = await Promise.all([startAzurite(), startUpstream()])
  open = openAccount(azurite.connectionString)
  folder = mkdtempSync(join(tmpdir(), 'tollgate-purge-'))
  const policy = join(folder, 'policy.yaml')
  writeFileSync(policy, PLANS)
  settings = {
    TOLLGATE_STORAGE: azurite.connectionString,
    TOLLGATE_POLICY: policy,
    OPENAI_BASE_URL: upstream.baseUrl,
    // The default deadline would make a slow moment of a busy test machine look like a miss.
    TOLLGATE_CACHE_DEADLINE_MS: '5000',
  }
  hosts = await Promise.all([startHost(settings), startHost(settings)])
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await upstream?.close()
  await azurite?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** A question of its own for each host, since the first one that misses stores an answer for the other. */
interface Reader {
  readonly key: string
  readonly questions: readonly [string, string]
}

async function newReader(name: string): Promise<Reader & { readonly id: string }> {
  const id = unique(name)
  const key = await newKey(open, id, 'ample')
  return { id, key, questions: [unique('question'), unique('question')] }
}

async function status(host: RunningHost, key: string, prompt: string): Promise<string> {
  const { headers } = await generate(host, JSON.stringify({ prompt }), { 'x-api-key': key })
  return headers.get('cache-status') ?? ''
}

/** Both questions are hits on both hosts. */
async function fill({ key, questions }: Reader): Promise<void> {
  for (const [i, question] of questions.entries()) {
    expect(await status(hosts[i] as RunningHost, key, question)).toContain('stored')
    for (const host of hosts) expect(await status(host, key, question)).toContain('; hit')
  }
}

/** Asks until that is no hit any more; how long after the beginning that was asked, in milliseconds. */
async function missedAfter(host: RunningHost, key: string, question: string, began: number): Promise<number> {
  for (;;) {
    const asked = performance.now() - began
    const answer = await status(host, key, question)
    if (!answer.includes('; hit')) {
      expect(answer).toContain('fwd=miss')
      return asked
    }
    if (asked > WITHIN_MS) return asked
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Asks each host for its own question, until both have missed. */
async function untilMissed({ key, questions }: Reader): Promise<number> {
  const began = performance.now()
  const [first, second] = hosts
  return Math.max(
    ...(await Promise.all([
      missedAfter(first, key, questions[0], began),
      missedAfter(second, key, questions[1], began),
    ])),
  )
}

async function expectHits({ key, questions }: Reader): Promise<void> {
  for (const host of hosts) {
    for (const question of questions) expect(await status(host, key, question)).toContain('; hit')
  }
}

async function purge(...args: string[]): Promise<string> {
  const command = bundled(join(ROOT, 'packages/cli/src/tollgate.ts'))
  const { stdout } = await promisify(execFile)(process.execPath, [command, 'cache', 'purge', ...args], {
    env: cleanEnv(settings),
  })
  return stdout
}

describe('a purge', () => {
  test('of a consumer reaches every host within 5 seconds, and nobody else', async () => {
    const [alice, bob] = [await newReader('alice'), await newReader('bob')]
    await Promise.all([fill(alice), fill(bob)])
    expect(await purge('--consumer', alice.id)).toContain(alice.id)
    expect(await untilMissed(alice)).toBeLessThanOrEqual(WITHIN_MS)
    await expectHits(bob)
    // What was stored since is served again.
    await expectHits(alice)
  })

  test.each([[['--all']], [['--route', 'generate']]])('by %j concerns all consumers', async (args) => {
    const [carol, dave] = [await newReader('carol'), await newReader('dave')]
    await Promise.all([fill(carol), fill(dave)])
    await purge(...args)
    const lasted = await Promise.all([untilMissed(carol), untilMissed(dave)])
    expect(Math.max(...lasted)).toBeLessThanOrEqual(WITHIN_MS)
  })

  test('of a plan leaves what its consumers have for themselves', async () => {
    const erin = await newReader('erin')
    await fill(erin)
    await purge('--plan', 'ample')
    const until = performance.now() + WITHIN_MS
    while (performance.now() < until) {
      await expectHits(erin)
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  })

  test('of a plan, and not of a consumer, concerns what the consumers of the plan share', async () => {
    const policy = join(folder, 'shared.yaml')
    writeFileSync(policy, `${PLANS}routes: { generate: { cache: { scope: plan } } }\n`)
    const host = await startHost({ ...settings, TOLLGATE_POLICY: policy })
    try {
      const [grace, heidi] = [await newReader('grace'), await newReader('heidi')]
      const [question] = grace.questions
      expect(await status(host, grace.key, question)).toContain('stored')
      expect(await status(host, heidi.key, question)).toContain('; hit')
      await purge('--consumer', grace.id)
      const until = performance.now() + WITHIN_MS
      while (performance.now() < until) {
        expect(await status(host, heidi.key, question)).toContain('; hit')
        await new Promise((resolve) => setTimeout(resolve, 500))
      }
      await purge('--plan', 'ample')
      expect(await missedAfter(host, heidi.key, question, performance.now())).toBeLessThanOrEqual(WITHIN_MS)
    } finally {
      await host.stop()
    }
  })
})

describe('the sweep', () => {
  test('removes what has expired, says so, and leaves what is fresh', async () => {
    const frank = await newReader('frank')
    await fill(frank)
    const table = tableClient(azurite.connectionString, 'tollgatecache')
    const expired = { partitionKey: 'x', rowKey: unique('expired') }
    await table.createEntity({ ...expired, expiresAt: new Date(Date.now() - 3_600_000) })
    const run = await fetch(`${hosts[0].url}/admin/functions/sweep`, { method: 'POST', body: '{"input":""}' })
    expect(run.status).toBe(202)
    await expect.poll(hosts[0].output, { timeout: 10_000 }).toContain('"event":"cache swept","completions":1')
    await expect(table.getEntity(expired.partitionKey, expired.rowKey)).rejects.toMatchObject({ statusCode: 404 })
    await expectHits(frank)
  })
})
