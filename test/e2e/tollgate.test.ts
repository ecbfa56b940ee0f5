import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  limiter,
  openRedis,
  outlinePolicy,
  redisCounterStore,
  tableCounterStore,
  tableGenerationStore,
} from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* The `tollgate` command and the gateway, over the same tables. */

let folder: string
let policy: string
let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
  folder = mkdtempSync(join(tmpdir(), 'tollgate-cli-'))
  policy = join(folder, 'policy.yaml')
  writeFileSync(policy, 'plans: { free: { limits: [ { requests: 100, per: 1h } ] }, pro: { limits: [] } }\n')
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await upstream?.close()
})

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}
const tollgate = (...args: string[]): Promise<Run> => tollgateWith({}, ...args)
const tollgateWith = (settings: Record<string, string>, ...args: string[]): Promise<Run> =>
  promisify(execFile)(process.execPath, [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), ...args], {
    env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: policy, ...settings }),
  }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), err: stderr.trim() }),
    ({ code, stdout, stderr }) => ({ code, out: stdout.trim(), err: stderr.trim() }),
  )
const create = async (consumer: string, ...args: string[]) =>
  JSON.parse((await tollgate('keys', 'create', '--consumer', consumer, '--plan', 'free', '--json', ...args)).out) as {
    readonly key: string
    readonly id: string
    readonly expiresAt?: string
  }
const keysOf = async (consumer: string) =>
  JSON.parse((await tollgate('keys', 'list', '--consumer', consumer, '--json')).out) as { id: string; state: string }[]

/** What a gateway that knows nothing yet answers to a key: one that has looked it up goes by that for 30 seconds. */
async function answerTo(...keys: string[]): Promise<[number, unknown][]> {
  const host: RunningHost = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: policy,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
    },
    BARE_HOST,
  )
  const answers = await Promise.all(keys.map((key) => generate(host, '{"prompt":"Why?"}', { 'x-api-key': key })))
  await host.stop()
  return answers.map(({ status, body }) => [status, body.error])
}

describe('tollgate keys', () => {
  test('lists keys by id and state, and never a key or what it could be known by', async () => {
    const consumer = unique('alice')
    const [one, two] = [await create(consumer), await create(consumer, '--expires', '90d')]
    expect(await keysOf(consumer)).toMatchObject([
      { id: one.id, consumer, state: 'active', expiresAt: null },
      { id: two.id, consumer, state: 'active', expiresAt: two.expiresAt },
    ])
    const days = (Date.parse(two.expiresAt ?? '') - Date.now()) / 86_400_000
    expect(days).toBeGreaterThan(89.9)
    expect(days).toBeLessThanOrEqual(90)
    const { out } = await tollgate('keys', 'list')
    expect(out).toMatch(/^ID +CONSUMER +SCOPE +STATE +MADE +EXPIRES +LAST USED +ONLY\n/)
    expect(out).toContain(one.id)
    expect(out).not.toContain('tg_')
  })

  test('makes a key that may call, or one that may read, and lists which is which', async () => {
    const [consumer, grafana] = [unique('alice'), unique('grafana')]
    const [calls, reads] = [await create(consumer), await create(grafana, '--scope', 'read')]
    expect([calls, reads]).toMatchObject([{ scopes: ['call'] }, { scopes: ['read'] }])
    expect(await keysOf(grafana)).toMatchObject([{ id: reads.id, scopes: ['read'] }])
    const { out } = await tollgate('keys', 'list', '--consumer', grafana)
    expect(out).toMatch(new RegExp(`^${reads.id} +${grafana} +read +active `, 'm'))
    expect((await tollgate('keys', 'create', '--consumer', grafana, '--scope', 'read')).out).toContain(
      `Key of scope 'read' for consumer '${grafana}' on plan 'free'`,
    )
    expect(await answerTo(calls.key, reads.key)).toEqual([
      [200, undefined],
      [403, expect.stringContaining("not of scope 'call'")],
    ])
  })

  test('disabled, enabled, expired and revoked keys are answered so', async () => {
    const consumer = unique('bob')
    const [disabled, enabled, expired, later, revoked] = (await Promise.all(
      Array.from({ length: 5 }, () => create(consumer)),
    )) as [Created, Created, Created, Created, Created]
    expect((await tollgate('keys', 'disable', disabled.id)).out).toContain(`Key ${disabled.id} is disabled.`)
    // A whole key names itself too.
    await tollgate('keys', 'disable', enabled.key)
    expect((await tollgate('keys', 'enable', enabled.key)).out).toContain(`Key ${enabled.id} is enabled.`)
    await tollgate('keys', 'expire', expired.id)
    await tollgate('keys', 'expire', later.id, '--at', '2999-01-31')
    expect((await tollgate('keys', 'revoke', revoked.id)).out).toContain('removed for good')
    const keys = [disabled, enabled, expired, later, revoked].map(({ key }) => key)
    expect(await answerTo(...keys)).toEqual([
      [401, 'This API key is disabled.'],
      [200, undefined],
      [401, 'This API key has expired.'],
      [200, undefined],
      [401, 'Invalid API key.'],
    ])
    expect((await keysOf(consumer)).map(({ state }) => state).toSorted()).toEqual([
      'active',
      'active',
      'disabled',
      'expired',
    ])
  })

  test('makes a key that may only some of what its plan allows, and shows what', async () => {
    const consumer = unique('narrow')
    const narrowing = ['--model', 'default', '--route', 'chat', '--route', 'generate', '--usd', '0.5', '--per', 'day']
    const { out } = await tollgate(
      'keys',
      'create',
      '--consumer',
      consumer,
      '--plan',
      'free',
      '--scope',
      'call',
      '--scope',
      'read',
      ...narrowing,
    )
    expect(out).toContain(`Key of scope 'call read' for consumer '${consumer}' on plan 'free'`)
    const only = 'models default; routes chat, generate; 0.5 USD per day'
    expect(out).toContain(`Of what the plan allows, it may use: ${only}.`)
    const [{ id } = expect.fail('There is no key')] = await keysOf(consumer)
    expect((await tollgate('keys', 'list', '--consumer', consumer)).out).toMatch(
      new RegExp(`^${id} +${consumer} +call read +active +\\S+ +never +not seen +${only}$`, 'm'),
    )
    const request = join(folder, 'narrowed.json')
    writeFileSync(request, '{"input":"Why?"}')
    const explain = (surface: string) =>
      tollgate('route', 'explain', '--key', id, '--file', request, '--surface', surface, '--json')
    expect(JSON.parse((await explain('embeddings')).out)).toMatchObject({
      asked: { consumer, plan: 'free' },
      refusal: { status: 403, code: 'route_not_allowed' },
    })
  })

  test('rotates a key: the new one works, the old one for the grace, and both are listed', async () => {
    const consumer = unique('rotated')
    const [graced, ended] = [await create(consumer), await create(consumer)]
    const { out } = await tollgate('keys', 'rotate', graced.key)
    const [next = ''] = /tg_[0-9A-Za-z_]{62}/.exec(out) ?? []
    expect(out).toMatch(
      new RegExp(
        `^Key for consumer '${consumer}' \\(id \\w{12}\\), in the place of key ${graced.id}\\. It is shown only now:`,
      ),
    )
    expect(out).toMatch(new RegExp(`Key ${graced.id} ends at \\S+Z\\. The gateway goes by it within 30 seconds\\.`))
    const rotated = JSON.parse((await tollgate('keys', 'rotate', ended.id, '--grace', '0', '--json')).out) as Created
    expect(await answerTo(graced.key, next, ended.key, rotated.key)).toEqual([
      [200, undefined],
      [200, undefined],
      [401, 'This API key has expired.'],
      [200, undefined],
    ])
    expect((await tollgate('keys', 'list', '--consumer', consumer)).out).toContain(`replaced by ${rotated.id}`)
    const again = await tollgate('keys', 'rotate', ended.id)
    expect([again.code, again.err]).toEqual([
      1,
      expect.stringContaining(`Key ${rotated.id} has taken the place of key ${ended.id}`),
    ])
  })

  test('finds whose key it is, by the whole or its beginning, and repeats no more than its id', async () => {
    const consumer = unique('leaked')
    const { key, id } = await create(consumer)
    const secret = key.slice(16)
    for (const part of [
      key,
      ` ${key} `,
      key.slice(0, 15),
      key.slice(0, 8),
      id,
      key.slice(0, 30),
      `${key.slice(0, 9)}…`,
    ]) {
      const { out, code } = await tollgate('keys', 'find', part)
      expect([code, out]).toEqual([
        0,
        expect.stringContaining(`Key ${id} is of consumer '${consumer}' on plan 'free': active, of scope 'call'`),
      ])
      expect(out).toContain(`remove it: keys revoke ${id}.`)
      expect(out).not.toContain('The checksum is wrong')
      expect(out).not.toContain(secret.slice(0, 8))
    }
    expect((await tollgate('keys', 'find', `${key}x`)).out).toContain('The checksum is wrong')
    const typo = `${key.slice(0, 20)}${key[20] === 'a' ? 'b' : 'a'}${key.slice(21)}`
    const { out } = await tollgate('keys', 'find', typo)
    expect(out).toContain('The checksum is wrong: as it stands this is no key, and lets nobody in.')
    expect(out).toContain(`Key ${id} is of consumer '${consumer}'`)
    expect(out).not.toContain(typo.slice(16, 24))
    expect(JSON.parse((await tollgate('keys', 'find', key, '--json')).out)).toMatchObject({
      checksum: true,
      keys: [{ id, consumer, isThatKey: true }],
      more: false,
    })
  })

  test('revokes, disables and lists while the policy is refused: a leaked key can’t wait for it', async () => {
    const { key, id } = await create(unique('leaked'))
    const broken = join(folder, 'broken.yaml')
    writeFileSync(broken, 'plans: 7\n')
    const run = (...args: string[]) => tollgateWith({ TOLLGATE_POLICY: broken }, 'keys', ...args)
    expect((await run('disable', id)).out).toContain(`Key ${id} is disabled.`)
    expect((await run('find', key)).out).toContain('disabled')
    expect((await run('list')).out).toContain(id)
    expect((await run('rotate', id)).err).toContain(`Key ${id} is disabled. Enable it first`)
    expect((await run('revoke', key)).out).toContain(`Key ${id} is removed for good.`)
  })

  test.each([
    [['keys', 'revoke', 'nonsense'], '<key>: neither the id of a key'],
    [['keys', 'revoke', 'abcdefghijkl'], 'There is no key abcdefghijkl.'],
    [['keys', 'disable', 'abcdefghijkl'], 'There is no key abcdefghijkl.'],
    [['keys', 'expire', 'abcdefghijkl', '--at', 'soon'], "--at: 'soon' is neither a span"],
    [['keys', 'expire', 'abcdefghijkl', '--at', '2026-13-01'], "--at: '2026-13-01' is neither"],
    [['keys', 'expire', 'abcdefghijkl', '--at', '2027-02-31'], "--at: '2027-02-31' is neither"],
    [['keys', 'create', '--consumer', 'c', '--scope', 'reed'], "--scope: 'reed' is none of call, read, admin."],
    [['keys', 'create', '--consumer', 'c', '--expires', '2020-01-01'], "--expires: '2020-01-01' is past."],
    [['keys', 'revoke'], "missing required argument 'key'"],
    [['keys', 'create', '--consumer', '~entra~t~o', '--plan', 'free'], '--consumer: 1 to 128 letters'],
    [
      ['keys', 'create', '--consumer', 'c', '--plan', 'gold'],
      "--plan: the policy has no plan 'gold'. It has: free, pro.",
    ],
    [
      ['keys', 'create', '--consumer', 'c', '--model', 'defualt'],
      "--model: the policy has no model 'defualt'. Did you mean 'default'?",
    ],
    [
      ['keys', 'create', '--consumer', 'c', '--zone', 'eu'],
      "--zone: the policy has no target in a zone 'eu'. There are: none.",
    ],
    [
      ['keys', 'create', '--consumer', 'c', '--route', 'chats'],
      "--route: the policy has no route 'chats'. Did you mean 'chat'?",
    ],
    [['keys', 'create', '--consumer', 'c', '--usd', '20'], '--usd: say over which window: --usd 20 --per month'],
    [['keys', 'create', '--consumer', 'c', '--per', 'month'], '--per: belongs to a budget.'],
    [['keys', 'create', '--consumer', 'c', '--usd', '-1', '--per', 'month'], "--usd: '-1' is no amount"],
    [
      ['keys', 'create', '--consumer', 'c', '--usd', '1', '--per', 'year'],
      "--per: 'year' is none of minute, hour, day, month.",
    ],
    [['keys', 'create', '--consumer', 'c', '--group', 'team'], "--group: 'team' is no name and value"],
    [['keys', 'create', '--consumer', 'c', '--group', 'team=a'], "--group: the policy has no group 'team'."],
    [['keys', 'rotate', 'abcdefghijkl'], 'There is no key abcdefghijkl.'],
    [['keys', 'rotate', 'abcdefghijkl', '--grace', '2020-01-01'], "--grace: '2020-01-01' is past."],
    [['keys', 'rotate', 'abcdefghijkl', '--grace', '500d'], '--grace: '],
    [['keys', 'show', 'abcdefghijkl'], 'There is no key abcdefghijkl.'],
    [['keys', 'find', 'tg_abcdefghijkl'], 'There is no key whose id begins with abcdefghijkl, or none any more'],
    [['keys', 'find', 'tg_abc'], '<key>: must be the 4 to 12 letters and digits after tg_'],
    [['keys', 'find', 'sk-abcdefghijklmnop'], '<key>: neither a key nor the beginning of one'],
  ])('%j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate(...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })
})

type Created = Awaited<ReturnType<typeof create>>

describe('tollgate consumers', () => {
  test('lists and shows consumers with their keys', async () => {
    const consumer = unique('carol')
    const { id } = await create(consumer)
    const listed = JSON.parse((await tollgate('consumers', 'list', '--json')).out)
    expect(listed).toContainEqual({ id: consumer, plan: 'free', disabled: false })
    const list = (await tollgate('consumers', 'list')).out
    expect(list).toMatch(new RegExp(`^${consumer} +free +active$`, 'm'))
    expect(list).toMatch(/\n\nStorage: the storage account '\w+', by the configured connection string$/)
    expect(JSON.parse((await tollgate('consumers', 'show', consumer, '--json')).out)).toMatchObject({
      id: consumer,
      plan: 'free',
      keys: [{ id, state: 'active' }],
    })
    const { out } = await tollgate('consumers', 'show', consumer)
    expect(out).toContain(`${consumer}: plan 'free', active`)
    expect(out).toContain(id)
  })

  test('I3: marks a consumer whose plan the policy has lost', async () => {
    const lost = unique('lost')
    await newKey(openAccount(inject('azurite')), lost, 'gone')
    const listed = JSON.parse((await tollgate('consumers', 'list', '--json')).out)
    expect(listed).toContainEqual({ id: lost, plan: 'gone', disabled: false, planMissing: true })
    expect((await tollgate('consumers', 'list')).out).toMatch(
      new RegExp(`^${lost} +gone \\(not in the policy: refused\\) +active$`, 'm'),
    )
    expect((await tollgate('consumers', 'show', lost)).out).toContain(
      `The policy has no plan 'gone', so all its requests are refused (403). Move it: consumers set ${lost} --plan <plan>`,
    )
  })

  test('moves a consumer to another plan, and shuts all its keys out', async () => {
    const [moved, shut] = [unique('dave'), unique('erin')]
    const keys = [await create(moved), await create(shut)]
    expect((await tollgate('consumers', 'set', moved, '--plan', 'pro')).out).toContain(`${moved}: plan 'pro', active.`)
    expect((await tollgate('consumers', 'set', shut, '--disable')).out).toContain(`${shut}: plan 'free', disabled.`)
    expect(await answerTo(...keys.map(({ key }) => key))).toEqual([
      [200, undefined],
      [401, 'This API key is disabled.'],
    ])
    await tollgate('consumers', 'set', shut, '--enable')
    expect(await answerTo(keys[1]?.key ?? '')).toEqual([[200, undefined]])
  })

  test.each([
    [['show', 'nobody-here'], "There is no consumer 'nobody-here'."],
    [['set', 'nobody-here', '--disable'], "There is no consumer 'nobody-here'."],
    [['set', 'nobody-here'], 'Say what to set'],
    [['set', 'nobody-here', '--disable', '--enable'], 'exclude each other'],
    [['set', 'nobody-here', '--plan', 'gold'], "the policy has no plan 'gold'. It has: free, pro."],
    [['set', 'nobody-here', '--plan', 'fre'], 'It has: free, pro. Did you mean free?'],
    [['show', 'a/b'], '<consumer>: 1 to 128 letters'],
  ])('%j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate('consumers', ...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })
})

describe('I6: tollgate', () => {
  test('tells its version', async () => {
    expect(await tollgate('--version')).toEqual({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+/), err: '' })
  })

  test('says in a sentence that the storage can’t be reached', async () => {
    const nowhere = `DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YWFh;TableEndpoint=http://127.0.0.1:1/a`
    const { code, out, err } = await tollgateWith({ TOLLGATE_STORAGE: nowhere }, 'consumers', 'list')
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(
      /^The storage could not be reached: .*ECONNREFUSED.* See that it runs, and that TOLLGATE_STORAGE/,
    )
    expect(err).not.toContain('    at ')
  })

  test('hands no control characters on to the terminal', async () => {
    const { err } = await tollgate('\u001b[31mred\u001b[0m')
    expect(err).toContain('red')
    expect(err).not.toContain('\u001b')
  })
})

describe('tollgate cache', () => {
  test('purges what is stored for one consumer, and for one plan', async () => {
    const consumer = unique('frank')
    await create(consumer)
    expect(await tollgate('cache', 'purge', '--consumer', consumer)).toEqual({
      code: 0,
      out: `Purged: what is stored for consumer '${consumer}' alone. Every instance goes by it within 5 seconds.`,
      err: '',
    })
    expect((await tollgate('cache', 'purge', '--plan', 'pro')).out).toMatch(/^Purged: .* plan 'pro'/)
    const purged = await tableGenerationStore(openAccount(inject('azurite'))).list(new AbortController().signal)
    expect([...purged.keys()]).toEqual(expect.arrayContaining([`consumer:${consumer}`, 'plan:pro']))
  })

  test('says that nobody has that name, and purges all the same', async () => {
    const nobody = unique('nobody')
    const { code, out } = await tollgate('cache', 'purge', '--consumer', nobody)
    expect([code, out]).toEqual([0, expect.stringContaining(`there is no consumer '${nobody}'`)])
  })

  test.each([
    [[], 'Say what to purge: --consumer, --plan, --route or --all.'],
    [['--all', '--plan', 'pro'], '--plan and --all exclude each other.'],
    [['--consumer', 'a/b'], '--consumer: 1 to 128 letters'],
    [['--consumer', ''], '--consumer: 1 to 128 letters'],
    [['--plan', 'gold'], "--plan: the policy has no plan 'gold'. It has: free, pro."],
    [['--route', 'chats'], "--route: there is no route 'chats'. There are: generate, chat, embeddings, responses."],
    [['--route', 'toString'], "--route: there is no route 'toString'."],
  ])('purge %j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate('cache', 'purge', ...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })
})

describe('tollgate limits', () => {
  test('resets what is counted, also for instances that remember it', async () => {
    const consumer = unique('grace')
    await create(consumer)
    const open = openAccount(inject('azurite'))
    const gate = limiter({ store: tableCounterStore({ open, now: () => performance.now() }), deadlineMs: 5_000 })
    const limits = outlinePolicy({ root: ROOT, path: policy }).plans.get('free')?.limits ?? []
    const subject = { id: `consumer:${consumer}`, limits }
    const ask = async () => (await gate.admit(limits.map((limit) => ({ subject, limit, units: 1 })))).admitted
    const admitted = await Promise.all(Array.from({ length: 120 }, ask))
    expect(admitted.filter(Boolean)).toHaveLength(100)
    expect(await tollgate('limits', 'reset', '--consumer', consumer)).toEqual({
      code: 0,
      out: `Reset: All limits of consumer '${consumer}'. Every instance goes by it within 10 seconds.`,
      err: '',
    })
    await expect.poll(ask, { timeout: 15_000, interval: 500 }).toBe(true)
    const again = await Promise.all(Array.from({ length: 120 }, ask))
    expect(again.filter(Boolean)).toHaveLength(99)
    await gate.close()
    expect((await tollgate('limits', 'reset', '--consumer', consumer, '--limit', 'requests')).out).toContain(
      `Reset: Limit 'requests' of consumer '${consumer}'.`,
    )
  }, 60_000)

  test.skipIf(noRedis !== undefined)('resets them in Redis, where the gateway keeps them there', async () => {
    const redis = await startRedis()
    try {
      const consumer = unique('heidi')
      await create(consumer)
      const { code } = await tollgateWith({ TOLLGATE_REDIS: redis.url }, 'limits', 'reset', '--consumer', consumer)
      expect(code).toBe(0)
      const connection = openRedis(redis.url)
      const store = redisCounterStore({ redis: connection, now: () => performance.now() })
      expect((await store.read(`consumer:${consumer}`, new AbortController().signal)).row).toBeDefined()
      connection.close()
    } finally {
      await redis.close()
    }
  })

  test.each([
    [[], 'Say whose limits to reset: --consumer, --key, --plan, --group or --global.'],
    [['--global', '--plan', 'free'], '--plan and --global exclude each other.'],
    [['--consumer', 'a/b'], '--consumer: 1 to 128 letters'],
    [['--consumer', 'nobody-here'], "There is no consumer 'nobody-here'."],
    [['--plan', 'gold'], "--plan: the policy has no plan 'gold'. It has: free, pro."],
    [
      ['--plan', 'free'],
      "Consumers of plan 'free' share no limits (plans.free.shared). Their own are reset by --consumer.",
    ],
    [['--global'], 'The policy has no global limits.'],
  ])('reset %j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate('limits', 'reset', ...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })

  test('reset of a limit that the policy does not have names those that it has', async () => {
    const consumer = unique('ivan')
    await create(consumer)
    const { code, err } = await tollgate('limits', 'reset', '--consumer', consumer, '--limit', 'usd')
    expect(code).toBe(1)
    expect(err).toContain(`--limit: consumer '${consumer}' has no limit 'usd' in the policy. It has: requests.`)
  })
})

describe('tollgate route explain', () => {
  test('goes by the plan of the consumer that the tables have, for a request in a file or piped in', async () => {
    const consumer = unique('explained')
    await create(consumer)
    const request = join(folder, 'request.json')
    writeFileSync(request, '{"messages":[{"role":"user","content":"Why?"}]}')
    const explained = await tollgate('route', 'explain', '--consumer', consumer, '--file', request)
    expect([explained.code, explained.err]).toEqual([0, ''])
    expect(explained.out).toContain(`of consumer '${consumer}' on plan 'free', goes to model 'default': default.`)

    const running = promisify(execFile)(
      process.execPath,
      [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), 'route', 'explain', '--plan', 'pro', '--json'],
      { env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: policy }) },
    )
    running.child.stdin?.end('{"prompt":"Why?"}')
    expect(JSON.parse((await running).stdout)).toMatchObject({
      model: 'default',
      asked: { plan: 'pro', surface: 'generate' },
    })

    const nobody = await tollgate('route', 'explain', '--consumer', unique('nobody'), '--file', request)
    expect([nobody.code, nobody.err]).toEqual([1, expect.stringContaining('There is no consumer')])
  })
})
