import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bookAgeDays } from '@tollgate/middleware'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type AttachedAzurite, attachAzurite } from '../../packages/local-host/src/azurite/attach.ts'
import { unique } from '../support/consumers.ts'
import { cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'

/* `npm start` on embedded defaults: its own Azurite, a simulated model, a demo key. */

let data: string
let hosts: RunningHost[]
const start = async (settings: Record<string, string> = {}) => {
  // The default deadline would make a slow moment of a busy test machine look like a miss.
  const host = await startHost({ TOLLGATE_LOCAL_DATA: data, TOLLGATE_CACHE_DEADLINE_MS: '5000', ...settings })
  hosts.push(host)
  return host
}
beforeEach(() => {
  hosts = []
})
const newData = () => {
  data = mkdtempSync(join(tmpdir(), 'tollgate-start-'))
}
const removeData = async () => {
  await vi.waitFor(() => expect(azuritePid()).toBeUndefined(), { timeout: 10_000 })
  // Tried again, for Azurite may write a last file while it ends.
  rmSync(data, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}
const stopHosts = () => Promise.all(hosts.map((host) => host.stop('SIGKILL')))

/** The running Azurite's process; `undefined` once it has ended, or where none has been started. */
function azuritePid(): number | undefined {
  try {
    const { pid } = JSON.parse(readFileSync(join(data, 'endpoint.json'), 'utf8'))
    process.kill(pid, 0)
    return pid
  } catch {
    return undefined
  }
}

const demoKey = () => readFileSync(join(data, 'demo-key'), 'utf8').trim()
const ask = (host: Pick<RunningHost, 'url'>, prompt: string, key = demoKey()) =>
  generate(host, JSON.stringify({ prompt }), { 'x-api-key': key })

const tollgate = (...args: string[]) => tollgateWith({}, ...args)

async function tollgateWith(
  settings: Record<string, string>,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number }> {
  const run = promisify(execFile)(process.execPath, [join(ROOT, 'packages/cli/src/tollgate.ts'), ...args], {
    env: cleanEnv({ TOLLGATE_LOCAL_DATA: data, ...settings }),
  })
  return run.then(
    ({ stdout, stderr }) => ({ stdout, stderr, code: 0 }),
    ({ stdout, stderr, code }) => ({ stdout, stderr, code }),
  )
}

describe('npm start', () => {
  beforeEach(newData)
  afterEach(async () => {
    await stopHosts()
    await removeData()
  })

  test('keeps the demo key to its owner, and the same over restarts', async () => {
    const first = await start()
    const key = demoKey()
    expect(statSync(join(data, 'demo-key')).mode & 0o777).toBe(0o600)
    expect(statSync(join(data, 'endpoint.json')).mode & 0o777).toBe(0o600)
    await first.stop()
    const second = await start()
    expect(demoKey()).toBe(key)
    expect((await ask(second, 'a')).status).toBe(200)
  })

  const curl = spawnSync('curl', ['--version']).status === 0
  // Without curl on the machine there is nothing that could run the printed commands.
  test.skipIf(!curl)('prints commands that do what they say', async () => {
    const host = await start()
    const commands = host
      .output()
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => /^(?:curl|for) /.test(line))
    expect(commands).toHaveLength(7)
    const all: string[] = []
    for (const command of commands) all.push((await promisify(execFile)('sh', ['-c', command])).stdout)
    const [chat, ...outputs] = all
    expect(chat).toMatch(/^HTTP\/1.1 200[\s\S]*"content":"This is a simulated answer to: What is a tollgate\?"/)
    expect(outputs[0]).toMatch(/^HTTP\/1.1 200[\s\S]*cache-status: tollgate; fwd=miss; stored/)
    expect(outputs[1]).toMatch(/^HTTP\/1.1 200[\s\S]*cache-status: tollgate; hit/)
    expect(outputs[2]).toMatch(
      /^HTTP\/1.1 200[\s\S]*text\/event-stream[\s\S]*data: \{"data":\{"completion":"This is a simulated answer"/,
    )
    expect(outputs[3]).toMatch(/^HTTP\/1.1 401/)
    const statuses = outputs[4]?.trim().split('\n') ?? []
    expect(statuses).toHaveLength(16)
    expect(statuses[0]).toBe('200')
    expect(statuses.at(-1)).toBe('429')
    expect(JSON.parse(outputs[5] ?? '')).toMatchObject({ consumer: 'demo-default', limits: expect.any(Array) })
  })

  test('leaves no Azurite behind where it refuses a setting', async () => {
    await expect(start({ TOLLGATE_MAX_BODY_BYTES: 'big' })).rejects.toThrow('TOLLGATE_MAX_BODY_BYTES must be a whole')
    // It was started before the app was, which looks at its settings.
    expect(existsSync(join(data, 'azurite.log'))).toBe(true)
    await expect.poll(azuritePid, { timeout: 10_000 }).toBeUndefined()
  })

  test.each([
    ['# nothing yet\n', 'the document is empty'],
    ['plans: { free: { limits: [ {usd: 5, per: month} ] } }\n', 'no model has a price'],
    ['plans: { free: { limits: [ {requests: 5, per: 1min} ] } }\n', 'line 1, plans.free.limits[0].per: must be'],
  ])('I1, I3, I6: refuses the policy %j before it starts anything', async (text, message) => {
    const policy = join(data, 'policy.yaml')
    writeFileSync(policy, text)
    await expect(start({ TOLLGATE_POLICY: policy })).rejects.toThrow(message)
    expect(azuritePid()).toBeUndefined()
  })

  test('I3: names the consumers whose plan is gone, and the plans that no consumer is on', async () => {
    await tollgate('keys', 'create', '--consumer', 'alice')
    const policy = join(data, 'policy.yaml')
    writeFileSync(policy, 'plans: { pro: { limits: [] }, spare: { limits: [] } }\n')
    const host = await start({ TOLLGATE_POLICY: policy })
    expect(host.output()).toContain(
      "consumers on plans that the policy does not have, whose requests are all refused (403): alice (plan 'default').",
    )
    expect(host.output()).toContain('note       no consumer is on the plan spare')
  })

  test('goes by what was applied since its file was saved, and by the file once that is saved again', async () => {
    const policy = join(data, 'policy.yaml')
    const settings = { TOLLGATE_POLICY: policy }
    const save = () => writeFileSync(policy, 'plans: { saved: { limits: [] } }\n')
    save()
    const first = await start(settings)
    expect(first.output()).toMatch(/policy {5}\S+policy\.yaml \([0-9a-f]{12}\); plan saved;/)
    const other = join(data, 'other.yaml')
    writeFileSync(other, 'plans: { applied: { limits: [] } }\n')
    expect((await tollgateWith(settings, 'policy', 'apply', other)).code).toBe(0)
    await first.stop()

    const second = await start(settings)
    expect(second.output()).toMatch(
      /policy {5}revision 2, applied \S+Z by command line \(.*\) \([0-9a-f]{12}\); plan applied;/,
    )
    expect(second.output()).toMatch(
      /note {7}\S+policy\.yaml \([0-9a-f]{12}\) is not in force: it was, as revision 1, and was not saved since\./,
    )
    expect(second.output()).toMatch(/"event":"policy in force","policy":"revision 2"/)
    await second.stop()

    save()
    const third = await start(settings)
    expect(third.output()).toMatch(/policy {5}\S+policy\.yaml \([0-9a-f]{12}\); plan saved;/)
    await third.stop()

    // Where there is none, what is in force stays.
    const none = { TOLLGATE_LOCAL_DATA: data }
    expect((await tollgateWith(none, 'policy', 'apply', other)).code).toBe(0)
    const fourth = await start(none)
    expect(fourth.output()).toMatch(/policy {5}revision 1, applied \S+Z by command line/)
  })

  test('goes by what a person saves while it runs, within seconds', async () => {
    const policy = join(data, 'policy.yaml')
    writeFileSync(policy, 'plans: { saved: { limits: [] } }\n')
    const host = await start({ TOLLGATE_POLICY: policy })
    writeFileSync(policy, 'plans: { edited: { limits: [] } }\n')
    await expect
      .poll(
        async () => {
          await fetch(`${host.url}/api/v1/models`)
          return host.output()
        },
        { interval: 500, timeout: 15_000 },
      )
      .toMatch(/The policy is revision 2 .* by an instance, as its file was saved\. It has the plan edited;/)
  })

  test('is not held up by what a power cut has left: an endpoint whose port is another program’s by now', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as { port: number }
    const stale = { pid: 1, connectionString: 'x', url: 'x', holdPort: port, token: 'x' }
    writeFileSync(join(data, 'endpoint.json'), JSON.stringify(stale))
    const host = await start()
    expect((await ask(host, 'a')).status).toBe(200)
    silent.close()
  })

  test('ends, and says why, when its Azurite has died', async () => {
    const host = await start()
    process.kill(azuritePid() ?? 0, 'SIGKILL')
    await once(host.process, 'exit')
    expect(host.process.exitCode).toBe(1)
    expect(host.output()).toContain('Azurite has ended')
  })

  test('makes no key in storage that is not its own', async () => {
    const host = await start({ TOLLGATE_STORAGE: 'memory:' })
    expect(host.output()).toContain('no key can be made and every request is a 401')
    expect(host.output()).not.toContain('tg_')
    expect(azuritePid()).toBeUndefined()
  })

  test('started twice at once shares one Azurite, which stays while either runs', async () => {
    const [one, two] = await Promise.all([start(), start()])
    const pid = azuritePid()
    const { stdout } = await tollgate('keys', 'create', '--consumer', 'alice', '--json')
    const { key } = JSON.parse(stdout)
    const first = await ask(one, 'Shared?', key)
    expect(first, one.output()).toMatchObject({ status: 200 })
    expect(first.headers.get('cache-status')).toContain('fwd=miss')
    await one.stop()
    expect((await ask(two, 'Shared?', key)).headers.get('cache-status')).toContain('hit')
    expect(azuritePid()).toBe(pid)
  })

  test('by npm leaves nothing behind, even when npm is killed', async () => {
    const npm = spawn('npm', ['start'], {
      cwd: ROOT,
      env: cleanEnv({ TOLLGATE_LOCAL_DATA: data }),
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let output = ''
    npm.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    await expect.poll(() => output, { timeout: 60_000 }).toContain('Ctrl-C')
    const url = /Tollgate runs on (\S+)/.exec(output)?.[1] ?? ''
    expect((await ask({ url }, 'a')).status).toBe(200)
    npm.kill('SIGKILL')
    await expect
      .poll(
        () =>
          fetch(url).then(
            () => 'up',
            () => 'down',
          ),
        { timeout: 10_000 },
      )
      .toBe('down')
    await expect.poll(azuritePid, { timeout: 10_000 }).toBeUndefined()
  }, 90_000)
})

describe('what is kept', () => {
  beforeEach(newData)
  afterEach(async () => {
    await stopHosts()
    await removeData()
  })

  test('survives SIGKILL of the host alone, at once', async () => {
    // None comes back while the test runs.
    const policy = join(data, 'policy.yaml')
    writeFileSync(policy, 'plans: { default: { limits: [ { requests: 15, per: 1d, burst: 0 } ] } }\n')
    const settings = { TOLLGATE_POLICY: policy }
    const first = await start(settings)
    const { key } = JSON.parse((await tollgate('keys', 'create', '--consumer', 'alice', '--json')).stdout)
    for (let i = 0; i < 15; i += 1) expect((await ask(first, 'Kept?', key)).status).toBe(200)
    await first.stop('SIGKILL')

    const second = await start(settings)
    expect((await ask(second, 'Kept?', key)).status).toBe(429)
    expect((await ask(second, 'demo')).headers.get('cache-status')).toContain('fwd=miss')
    await second.stop('SIGKILL')
    await expect.poll(azuritePid, { timeout: 10_000 }).toBeUndefined()

    // Azurite has ended meanwhile, and has saved first.
    const third = await start(settings)
    expect((await ask(third, 'demo')).headers.get('cache-status')).toContain('hit')
    expect((await ask(third, 'Kept?', key)).status).toBeOneOf([200, 429])
  }, 60_000)

  test('survives SIGKILL of everything when it was acknowledged more than 6 s before', async () => {
    const first = await start()
    const { key } = JSON.parse((await tollgate('keys', 'create', '--consumer', 'alice', '--json')).stdout)
    expect((await ask(first, 'Kept?', key)).status).toBe(200)
    // The promise is about time, so the test must let it pass.
    await new Promise((resolve) => setTimeout(resolve, 6_000))
    process.kill(azuritePid() ?? 0, 'SIGKILL')
    await first.stop('SIGKILL')

    const second = await start()
    expect((await ask(second, 'Kept?', key)).headers.get('cache-status')).toContain('hit')
  }, 60_000)
})

/* What is not about Azurite's life: another start of it costs a second. */
describe('on an Azurite that runs already', () => {
  let azurite: AttachedAzurite
  beforeAll(async () => {
    newData()
    azurite = await attachAzurite(data)
  })
  afterEach(stopHosts)
  afterAll(async () => {
    azurite?.release()
    await removeData()
  })

  describe('npm start', () => {
    test('says what runs, and that the model is simulated', async () => {
      const host = await start()
      expect(host.output()).toContain('a development host: not for production')
      expect(host.output()).toContain('SIMULATED')
      const answer = await ask(host, 'What is a tollgate?')
      expect(answer.body).toMatchObject({
        data: { completion: 'This is a simulated answer to: What is a tollgate?', model: 'simulated' },
      })
    })

    test('says what to do when its port is taken', async () => {
      const other = createServer().listen(0, '127.0.0.1')
      await once(other, 'listening')
      const { port } = other.address() as { port: number }
      await expect(start({ PORT: String(port) })).rejects.toThrow(
        `Port ${port} is taken. Stop what listens there, or choose another`,
      )
      other.close()
    })

    test.each([
      [{ OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_BASE_URL: 'https://y.example' }, 'are both set'],
      [{ TOLLGATE_POLICY: 'none.yaml' }, 'none.yaml was refused'],
      [{ TOLLGATE_STORAGE: 'nonsense' }, 'TOLLGATE_STORAGE is neither'],
      [{ TOLLGATE_MAX_BODY_BYTES: 'big' }, 'TOLLGATE_MAX_BODY_BYTES must be a whole number'],
      [{ PORT: 'seven' }, 'PORT must be a number'],
      [{ TOLLGATE_POLCY: 'policy.yaml' }, 'TOLLGATE_POLCY is no setting. Did you mean TOLLGATE_POLICY?'],
      [{ OPENAI_APIKEY: 'k' }, 'OPENAI_APIKEY is no setting. Did you mean OPENAI_API_KEY?'],
      [{ OPENAI_BASE_UR: 'https://x.example' }, 'OPENAI_BASE_UR is no setting. Did you mean OPENAI_BASE_URL?'],
    ])('refuses %o, and says why', async (settings, message) => {
      await expect(start(settings)).rejects.toThrow(message)
    })

    test('I1: says which policy is in force, its plans, and whether anything limits money', async () => {
      const host = await start()
      expect(host.output()).toContain(
        'policy     the defaults: there is no tollgate.policy.yaml; plan default; NO LIMIT ON MONEY in any plan',
      )
      expect(host.output()).toMatch(/"event":"policy in force","policy":"defaults"/)
      await host.stop()
      const policy = join(data, 'policy.yaml')
      writeFileSync(
        policy,
        'plans: {free: {limits: []}, pro: {limits: [{usd: 5, per: day}]}}\nmodels: {default: {price: {input: 1, output: 2}}}\n',
      )
      const other = await start({ TOLLGATE_POLICY: policy })
      expect(other.output()).toMatch(
        /policy {5}\S+policy\.yaml \([0-9a-f]{12}\); plans free and pro; no limit on money in plan: free$/m,
      )
    })

    test('says that the price book is old, once it is, where a model goes by it', async () => {
      const policy = join(data, 'policy.yaml')
      writeFileSync(policy, 'models: {default: {price: {like: openai/gpt-5-mini}}}\n')
      const host = await start({ TOLLGATE_POLICY: policy })
      const notes = host.output().match(/note {7}the price book is of .*, and prices default\./g) ?? []
      expect(notes).toHaveLength(bookAgeDays(Date.now()) > 60 ? 1 : 0)
    })

    test.each([
      [{ OPENAI_API_KEY: 'sk-HUSH' }, 'REAL: gpt-4 on api.openai.com, billed to OPENAI_API_KEY'],
      [
        { OPENAI_API_KEY: 'sk-HUSH', OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_MODEL_NAME: 'mini' },
        'REAL: mini on x.openai.azure.com (Azure), by OPENAI_ENDPOINT',
      ],
      [
        {
          OPENAI_API_KEY: 'sk-HUSH',
          OPENAI_ENDPOINT: 'https://x.openai.azure.com/openai/deployments/mine/chat/completions',
        },
        'REAL: mine on x.openai.azure.com (Azure), by OPENAI_ENDPOINT',
      ],
      [
        { OPENAI_API_KEY: 'sk-HUSH', OPENAI_BASE_URL: 'http://127.0.0.1:9/v1', OPENAI_MODEL_NAME: 'llama' },
        'REAL: llama on 127.0.0.1:9, by OPENAI_BASE_URL',
      ],
    ])('I5: says that the model is real, and which: %j', async (settings, text) => {
      const host = await start(settings as unknown as Record<string, string>)
      expect(host.output()).toContain(`model      ${text}`)
      expect(host.output()).toContain('the model is REAL: what it answers may be billed')
      expect(host.output()).not.toMatch(/SIMULATED|HUSH/)
    })

    test('simulates nothing where the policy has a model of its own', async () => {
      const policy = join(data, 'policy.yaml')
      const models =
        'models: { own: { targets: [ { azure: { endpoint: "https://x.openai.azure.com", deployment: d } } ] } }'
      writeFileSync(policy, `${models}\nroutes: { generate: { model: own } }\n`)
      const host = await start({ TOLLGATE_POLICY: policy })
      expect(host.output()).toContain("model      'own', by the policy: REAL, d")
      expect(host.output()).not.toContain(`curl -i ${host.url}/api/v1/chat/completions`)
      expect(host.output()).not.toContain('SIMULATED')
    })

    test('I5: says which models of the policy are real beside the simulated one', async () => {
      const policy = join(data, 'policy.yaml')
      writeFileSync(
        policy,
        'models: { own: { targets: [ { azure: { endpoint: "https://x.openai.azure.com", deployment: d } } ] } }',
      )
      const host = await start({ TOLLGATE_POLICY: policy })
      expect(host.output()).toMatch(/model {6}SIMULATED.*; REAL, by the policy, where a request names it: own$/m)
    })
  })

  describe('tollgate keys create', () => {
    test('makes a consumer on the default plan, and prints the key once', async () => {
      const alice = unique('alice')
      const { stdout } = await tollgate('keys', 'create', '--consumer', alice, '--json')
      expect(JSON.parse(stdout)).toEqual({
        key: expect.stringMatching(/^tg_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/),
        id: expect.stringMatching(/^[0-9A-Za-z]{12}$/),
        consumer: alice,
        plan: 'default',
        scopes: ['call'],
      })
      expect(stdout.trim().split('\n')).toHaveLength(1)
      const second = await tollgate('keys', 'create', '--consumer', alice)
      expect(second.stdout).toContain(`Key for consumer '${alice}' on plan 'default'`)
    })

    test('makes no key that the gateway would refuse, for a consumer whose plan the policy has lost', async () => {
      const alice = unique('alice')
      await tollgate('keys', 'create', '--consumer', alice)
      const policy = join(data, 'lost.yaml')
      writeFileSync(policy, 'plans: { pro: { limits: [] } }\n')
      const { code, stderr } = await tollgateWith({ TOLLGATE_POLICY: policy }, 'keys', 'create', '--consumer', alice)
      expect([code, stderr]).toEqual([
        1,
        `Consumer '${alice}' is on plan 'default', which the policy doesn't have. It has: pro.\n`,
      ])
    })

    test.each([
      [['--consumer', 'alice', '--plan', 'gold'], "--plan: the policy has no plan 'gold'. It has: default."],
      [['--consumer', 'a/b'], '--consumer: 1 to 128 letters'],
      [['--consumer', ''], '--consumer: 1 to 128 letters'],
      [[], "required option '--consumer <id>' not specified"],
      [['--consumer', 'alice', '--paln', 'x'], "unknown option '--paln'"],
    ])('%j is refused with what to correct', async (args, message) => {
      const { code, stderr, stdout } = await tollgate('keys', 'create', ...args)
      expect(code).toBe(1)
      expect(stderr).toContain(message)
      expect(stdout).toBe('')
    })
  })
})
