import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { policyRevisions } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { failing, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * The policy changed while two instances are asked, each a process of its own as in the cloud, and each before a proxy of its own that
 * counts and fails its reads. Which one they go by is what they list as the models that there are.
 */

const open = openAccount(inject('azurite'))
const WITHIN_MS = 5_000
/** The test machine itself may be slow to answer. */
const SLACK_MS = 2_000

let folder: string
let file: string
let upstream: Upstream
let proxies: readonly [StorageProxy, StorageProxy]
let hosts: readonly [RunningHost, RunningHost]
let key: string

const policyOf = (model: string) =>
  `plans: {p: {limits: []}}\nmodels: {${model}: {targets: [{openai: {model: m, key: {env: OPENAI_API_KEY}}}]}}\n`

const started = (connection: string, settings: Record<string, string> = {}) =>
  startHost(
    {
      TOLLGATE_STORAGE: connection,
      TOLLGATE_POLICY: file,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      ...settings,
    },
    BARE_HOST,
  )

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-live-'))
  file = join(folder, 'policy.yaml')
  writeFileSync(file, policyOf('first'))
  upstream = await startUpstream()
  // What a health check asks is turned away for what it is.
  upstream.reply = failing(400)
  proxies = await Promise.all([startStorageProxy(inject('azurite')), startStorageProxy(inject('azurite'))])
  hosts = await Promise.all([started(proxies[0].connectionString), started(proxies[1].connectionString)])
  key = await newKey(open, unique('live'), 'p')
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await Promise.all((proxies ?? []).map((proxy) => proxy.close()))
  await upstream?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** The models by which a host goes, but for the settings' own; or the status of its refusal. */
async function models(host: RunningHost): Promise<string | number> {
  const response = await fetch(`${host.url}/api/v1/models`, { headers: { authorization: `Bearer ${key}` } })
  const body = (await response.json()) as { readonly data?: readonly { readonly id: string }[] }
  if (body.data === undefined) return response.status
  return body.data
    .map(({ id }) => id)
    .filter((id) => id !== 'default')
    .join()
}

/** Asks a host without a pause until it goes by this, and then for a moment more; milliseconds until it did. */
async function until(host: RunningHost, wanted: string, before: string): Promise<number> {
  const begun = performance.now()
  for (;;) {
    const found = await models(host)
    if (found === wanted) return performance.now() - begun
    expect(found).toBe(before)
    expect(performance.now() - begun).toBeLessThan(WITHIN_MS + SLACK_MS)
    await sleep(25)
  }
}

const revisions = () => policyRevisions({ table: open('tollgatepolicy'), name: file })

const tollgate = (...args: string[]) =>
  promisify(execFile)(process.execPath, [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), ...args], {
    env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: file }),
  }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), err: stderr.trim() }),
    ({ code, stdout, stderr }) => ({ code, out: stdout.trim(), err: stderr.trim() }),
  )

/** A document beside the app's file. */
function document(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('a policy that is changed while two instances run', () => {
  test('their file was applied once by both, as they started', async () => {
    expect([await models(hosts[0]), await models(hosts[1])]).toEqual(['first', 'first'])
    expect(await revisions().history()).toMatchObject([{ number: 1, from: 'file', source: file }])
  })

  test('what is applied, and what is rolled back, holds on both within 5 seconds, at one read an instance in 5', async () => {
    for (const proxy of proxies) proxy.forget()
    const begun = performance.now()
    const path = document('second.yaml', policyOf('second'))
    const { out } = await tollgate('policy', 'apply', path, '--message', 'a second model')
    expect(out).toContain(`${path} is in force, as revision 2. Every instance goes by it within 5 seconds.`)
    const taken = await Promise.all(hosts.map((host) => until(host, 'second', 'first')))
    expect(await tollgate('policy', 'rollback')).toMatchObject({
      code: 0,
      err: '',
      out: expect.stringContaining('What revision 1 said is in force again, as revision 3.'),
    })
    taken.push(...(await Promise.all(hosts.map((host) => until(host, 'first', 'second')))))
    for (const ms of taken) expect(ms).toBeLessThan(WITHIN_MS + SLACK_MS)
    const most = Math.floor((performance.now() - begun) / WITHIN_MS) + 1
    for (const proxy of proxies) {
      const { 'get tollgatepolicy': reads = 0, ...others } = proxy.counts()
      expect(reads).toBeLessThanOrEqual(most)
      expect(reads).toBeGreaterThanOrEqual(2)
      expect(Object.keys(others).filter((kind) => kind.endsWith(' tollgatepolicy'))).toEqual([])
    }
    const { out: history } = await tollgate('policy', 'history')
    expect(history).toMatch(/^3 +in force +\S+ +command line \(.*\) +revision 1, again/m)
    expect(history).toMatch(/^2 +\S+Z +command line \(.*\) +\S+second\.yaml +[0-9a-f]{12} +a second model$/m)
    expect(history).toMatch(/^1 +\S+Z +an instance, as it started/m)
  })

  test('one that these settings can’t resolve is refused whole, with path and fix, and the last good one stays', async () => {
    const unset = 'models: {other: {targets: [{openai: {model: m, key: {env: OPENAI_OTHER_KEY}}}]}}'
    const path = document('bad.yaml', `plans: {p: {limits: []}}\n${unset}\n`)
    expect((await tollgate('policy', 'apply', path)).out).toContain('as revision 4.')
    const waited = performance.now()
    while (hosts.some((host) => !host.output().includes('"event":"policy refused"'))) {
      expect(await Promise.all(hosts.map(models))).toEqual(['first', 'first'])
      expect(performance.now() - waited).toBeLessThan(WITHIN_MS + SLACK_MS)
      await sleep(25)
    }
    expect(await Promise.all(hosts.map(models))).toEqual(['first', 'first'])
    const fault = 'line 2, models.other.targets[0]: key: the environment variable OPENAI_OTHER_KEY is not set.'
    for (const host of hosts) expect(host.output().split('"event":"policy refused"')).toHaveLength(2)
    expect(hosts[0].output()).toContain(fault)
    expect((await tollgate('policy', 'show')).out).toMatch(
      /^# REFUSED by an instance[\s\S]*OPENAI_OTHER_KEY is not set\./m,
    )
    const ready = await (await fetch(`${hosts[0].url}/api/health?ready`)).json()
    expect(ready).toMatchObject({ checks: { policy: 'failed', tables: 'ok' } })
    // One that starts now goes by the last that it can resolve, too.
    const late = await started(inject('azurite'))
    try {
      expect(await models(late)).toBe('first')
    } finally {
      await late.stop()
    }
  })

  test('while the tables fail, the last good one holds, on each by itself; it is told once, and once when they are back', async () => {
    const hung = proxies[0].inject({ kind: 'hang' }, { table: 'tollgatepolicy' })
    await tollgate('policy', 'apply', document('third.yaml', policyOf('third')))
    await until(hosts[1], 'third', 'first')
    const begun = performance.now()
    let slowest = 0
    while (hung.hits() < 2) {
      const asked = performance.now()
      expect(await models(hosts[0])).toBe('first')
      slowest = Math.max(slowest, performance.now() - asked)
      expect(performance.now() - begun).toBeLessThan(20_000)
      await sleep(25)
    }
    // A request waits for a look half a second at most.
    expect(slowest).toBeLessThan(500 + SLACK_MS)
    const told = (event: string) => hosts[0].output().split(`"event":"${event}"`).length - 1
    expect(told('policy not read')).toBe(1)
    proxies[0].heal()
    // The look that hung is given up before the next.
    const back = performance.now()
    while ((await models(hosts[0])) !== 'third') {
      expect(performance.now() - back).toBeLessThan(2 * WITHIN_MS + SLACK_MS)
      await sleep(25)
    }
    expect([told('policy not read'), told('policy read again')]).toEqual([1, 1])
  })

  test('an instance that starts with yesterday’s file goes by today’s policy from its first request on, and says so', async () => {
    const old = await started(inject('azurite'))
    try {
      expect(await models(old)).toBe('third')
      expect(await models(hosts[1])).toBe('third')
      expect(old.output()).toMatch(
        /"event":"policy in force".*The policy is revision 5 .*, and not the app's file\. .*policy\.yaml \([0-9a-f]{12}\) was in force before, as revision 3: to bring it back, tollgate policy rollback 3\./,
      )
      expect((await revisions().look()).current?.revision.number).toBe(5)
    } finally {
      await old.stop()
    }
  })

  test('an instance that starts while the tables can’t be read lets nobody in by its file', async () => {
    const proxy = await startStorageProxy(inject('azurite'))
    proxy.inject({ kind: 'answer', status: 503, code: 'ServerBusy' }, { table: 'tollgatepolicy' })
    const cold = await started(proxy.connectionString)
    try {
      expect(await models(cold)).toBe(503)
      proxy.heal()
      await expect.poll(() => models(cold), { timeout: 5_000 }).toBe('third')
    } finally {
      await cold.stop()
      await proxy.close()
    }
  })

  test('an instance whose own file can’t be read goes by what is in force, and says so', async () => {
    const before = readFileSync(file)
    writeFileSync(file, Buffer.from(policyOf('wide'), 'utf16le'))
    const wide = await started(inject('azurite'))
    try {
      expect(await models(wide)).toBe('third')
      expect(wide.output()).toMatch(/"event":"policy refused".*it is UTF-16, or no text at all\. Save it as UTF-8\./)
      const ready = await (await fetch(`${wide.url}/api/health?ready`)).json()
      expect(ready).toMatchObject({ checks: { policy: 'failed', tables: 'ok' } })
    } finally {
      await wide.stop()
      writeFileSync(file, before)
    }
  })

  test('a new file is applied by the first that starts with it, and holds on those that run', async () => {
    writeFileSync(file, policyOf('deployed'))
    const fresh = await Promise.all([started(inject('azurite')), started(inject('azurite'))])
    try {
      expect(await Promise.all(fresh.map(models))).toEqual(['deployed', 'deployed'])
      await Promise.all(hosts.map((host) => until(host, 'deployed', 'third')))
      expect((await revisions().history()).map(({ number }) => number)).toEqual([6, 5, 4, 3, 2, 1])
    } finally {
      await Promise.all(fresh.map((host) => host.stop()))
    }
  })
})

describe('tollgate policy', () => {
  test('validate names line, path and fix, of a file that the gateway would refuse', async () => {
    const path = document('typo.yaml', 'plans:\n  p: {limts: []}\n')
    expect(await tollgate('policy', 'validate', path)).toEqual({
      code: 1,
      out: '',
      err: expect.stringMatching(
        /typo\.yaml was refused:\n {2}- line 2, plans\.p\.limts: unknown field\. Did you mean 'limits'\?/,
      ),
    })
    expect((await tollgate('policy', 'apply', path)).code).toBe(1)
    expect((await tollgate('policy', 'validate')).out).toContain('can be used')
    const deep = join(folder, ...Array.from({ length: 5 }, () => 'x'.repeat(60)))
    mkdirSync(deep, { recursive: true })
    writeFileSync(join(deep, 'far.yaml'), policyOf('far'))
    expect(await tollgate('policy', 'validate', join(deep, 'far.yaml'))).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^….*x\/far\.yaml can be used/),
    })
  })

  test('diff says what would change, and what becomes of what was counted', async () => {
    const limits = (...each: string[]) => `plans: {p: {limits: [${each.join(', ')}]}}\n`
    const models = policyOf('deployed').split('\n')[1]
    await tollgate(
      'policy',
      'apply',
      document('a.yaml', `${limits('{requests: 10, per: 1m}', '{tokens: 9, per: day}')}${models}`),
    )
    const next = document(
      'b.yaml',
      `${limits('{concurrent: 2}', '{tokens: 8, per: day}', '{requests: 20, per: 60s}')}${models}`,
    )
    expect((await tollgate('policy', 'diff', next)).out.split('\n').slice(1)).toEqual([
      '+ plans.p.limits (concurrent): {"concurrent":2} (line 1)',
      '    Counts from now on.',
      '~ plans.p.limits (tokens per day): {"tokens":9,"per":"day"} → {"tokens":8,"per":"day"} (line 1)',
      '    What was used in this window stays used.',
      '~ plans.p.limits (requests per 1m): {"requests":10,"per":"1m"} → {"requests":20,"per":"60s"} (line 1)',
      '    What is left stays left, up to the new size.',
    ])
    expect((await tollgate('policy', 'diff', join(folder, 'a.yaml'))).out).toContain('says the same as revision 7.')
    expect((await tollgate('policy', 'diff', join(folder, 'a.yaml'), '--revision', '1')).out).toContain(
      '- models.first',
    )
  })

  test('apply on what another has changed meanwhile changes nothing, and says who did', async () => {
    const { code, err } = await tollgate('policy', 'apply', join(folder, 'b.yaml'), '--expected', '6')
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/^command line \(.*\) applied revision 7 meanwhile, so nothing was changed\./),
    ])
    expect((await tollgate('policy', 'apply', join(folder, 'b.yaml'), '--expected', '7')).out).toContain(
      'as revision 8.',
    )
  })

  test('apply --shadow judges one beside what is in force, and end-shadow ends it', async () => {
    expect((await tollgate('policy', 'apply', join(folder, 'a.yaml'), '--shadow')).out).toContain(
      'as revision 9, and refuses nothing. What it would refuse: usage --shadow. To end it: policy end-shadow. Every',
    )
    const { out } = await tollgate('policy', 'show', '--json')
    expect(JSON.parse(out)).toMatchObject({
      inForce: true,
      revision: { number: 8 },
      shadow: { number: 9, shadow: true },
    })
    expect((await tollgate('policy', 'end-shadow')).out).toContain('Revision 9 is judged no more.')
    expect(await tollgate('policy', 'end-shadow')).toMatchObject({
      code: 1,
      err: 'No revision is judged beside the one in force.',
    })
  })

  test.each([
    [['show', '--revision', '99'], 'there is no revision 99. There are: 1 to 9.'],
    [['show', '--revision', 'x'], "--revision: 'x' is no revision's number. See: policy history"],
    [['rollback', '99'], 'there is no revision 99. There are: 1 to 9.'],
    [
      ['apply', 'none.yaml'],
      "none.yaml: the file does not exist. Correct its name; without one the app's own is meant.",
    ],
  ])('%j is refused with what to correct', async (args, message) => {
    expect(await tollgate('policy', ...args)).toMatchObject({ code: 1, err: expect.stringContaining(message) })
  })

  test('over HTTP the app looks with its own settings before it applies anything', async () => {
    const admin = await newKey(open, unique('admin'), 'p', ['admin'])
    const ask = async (method: string, path: string, body?: object) => {
      const response = await fetch(`${hosts[0].url}/api/manage/policy${path}`, {
        method,
        headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      return [response.status, (await response.json()) as Record<string, unknown>] as const
    }
    // Without a limit, for a host that is asked until it goes by another.
    await tollgate('policy', 'apply', document('free.yaml', policyOf('deployed')))
    const head = await revisions().look()
    const [inForce, before] = [head.current?.revision.number, head.last]
    const unset = 'models: {other: {targets: [{openai: {model: m, key: {env: OPENAI_OTHER_KEY}}}]}}'
    const [status, refused] = await ask('PUT', '', { text: unset })
    expect([status, JSON.stringify(refused)]).toEqual([
      422,
      expect.stringContaining('models.other.targets[0]: key: the environment variable OPENAI_OTHER_KEY is not set.'),
    ])
    const foreign = 'models: {other: {targets: [{openai: {model: m, baseUrl: https://169.254.169.254/v1}}]}}'
    expect((await ask('PUT', '', { text: foreign }))[0]).toBe(422)
    expect((await revisions().look()).last).toBe(before)
    const [applied, { revision }] = await ask('PUT', '', { text: policyOf('by-http'), expected: inForce })
    expect([applied, revision]).toMatchObject([200, { number: before + 1, from: 'api' }])
    expect((await ask('PUT', '', { text: policyOf('late'), expected: inForce }))[0]).toBe(409)
    await until(hosts[1], 'by-http', 'deployed')
    expect((await ask('POST', '/rollback', {}))[0]).toBe(200)
    expect((await ask('GET', '?revision=1'))[1]).toMatchObject({ text: policyOf('first'), inForce: false })
  })

  test('other commands go by what is in force, and not by the file', async () => {
    writeFileSync(file, 'plans: {elsewhere: {limits: []}}\n')
    const alice = unique('alice')
    expect((await tollgate('keys', 'create', '--consumer', alice)).out).toContain("on plan 'p'")
    expect((await tollgate('prices')).out).toContain('deployed')
    expect((await tollgate('consumers', 'set', alice, '--plan', 'elsewhere')).err).toContain(
      "the policy has no plan 'elsewhere'",
    )
  })
})
