import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* A shadow revision, applied by the command while two instances run, each a process of its own, until it is ended. */

const open = openAccount(inject('azurite'))
/** Instances go by a change within 5 s; the test machine itself may be slow to answer. */
const WITHIN_MS = 7_000

let folder: string
let file: string
let upstream: Upstream
let hosts: readonly RunningHost[]
let key: string
const consumer = unique('judged')

const policyOf = (limits: string) =>
  `plans: {p: {limits: ${limits}}}\nmodels: {default: {price: {input: 1, output: 2}}}\n`

const tollgate = async (...args: string[]) =>
  promisify(execFile)(process.execPath, [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), ...args], {
    env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: file }),
  })

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-shadow-'))
  file = join(folder, 'policy.yaml')
  writeFileSync(file, policyOf('[]'))
  upstream = await startUpstream()
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: file,
    OPENAI_BASE_URL: upstream.baseUrl,
    OPENAI_API_KEY: 'sk-upstream',
  }
  hosts = await Promise.all([startHost(settings, BARE_HOST), startHost(settings, BARE_HOST)])
  key = await newKey(open, consumer, 'p')
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await upstream?.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Line {
  readonly shadow?: string
  readonly would_refuse?: string
  readonly id: string
}

/** Asks a host for one answer, which it gives whatever the shadow says, and tells the request's line. */
async function ask(host: RunningHost): Promise<Line> {
  const { status, headers } = await generate(host, JSON.stringify({ prompt: unique('p') }), { 'x-api-key': key })
  expect(status).toBe(200)
  const id = headers.get('x-request-id') ?? ''
  for (;;) {
    const line = host
      .output()
      .split('\n')
      .find((each) => each.includes('"event":"request"') && each.includes(id))
    if (line !== undefined) return { ...JSON.parse(line.slice(line.indexOf('{'))), id }
    await sleep(20)
  }
}

/** Asks until an instance goes by the change, and tells all lines. */
async function askUntil(host: RunningHost, holds: (line: Line) => boolean): Promise<Line[]> {
  const begun = performance.now()
  const lines: Line[] = []
  while (lines.length === 0 || !holds(lines.at(-1) as Line)) {
    expect(performance.now() - begun).toBeLessThan(WITHIN_MS)
    lines.push(await ask(host))
    await sleep(100)
  }
  return lines
}

test('is judged on every instance together until it is ended, and told in the ledger', async () => {
  const path = join(folder, 'stricter.yaml')
  writeFileSync(path, policyOf('[{requests: 3, per: day}]'))
  await tollgate('policy', 'apply', path, '--shadow')
  const judged: Line[] = []
  for (const host of hosts) judged.push(...(await askUntil(host, ({ shadow }) => shadow !== undefined)))
  for (const host of [...hosts, ...hosts]) judged.push(await ask(host))
  const told = judged.filter(({ shadow }) => shadow !== undefined)
  const refused = told.filter(({ would_refuse }) => would_refuse === 'insufficient_quota requests')
  const unknown = told.filter(({ would_refuse }) => would_refuse === 'unknown')
  expect(told.length - refused.length - unknown.length).toBeLessThanOrEqual(3)
  expect(refused.length).toBeGreaterThan(0)
  expect(told.at(-1)?.would_refuse).toBe('insufficient_quota requests')

  await tollgate('policy', 'end-shadow')
  for (const host of hosts) {
    for (const line of await askUntil(host, ({ shadow }) => shadow === undefined)) {
      if (line.shadow !== undefined) told.push(line)
    }
  }
  await Promise.all(hosts.map((host) => host.stop()))
  const { stdout } = await tollgate('usage', '--shadow', '--consumer', consumer, '--since', '1h', '--json')
  const of = (verdict: (line: Line) => boolean) => told.filter(verdict).length
  expect(JSON.parse(stdout).total).toMatchObject({
    judged: told.length,
    would_refuse: of(({ would_refuse }) => would_refuse !== undefined && would_refuse !== 'unknown'),
    unknown: of(({ would_refuse }) => would_refuse === 'unknown'),
  })
  expect((await tollgate('why', refused[0]?.id ?? '')).stdout).toContain(
    "would have refused it with insufficient_quota by limit 'requests'",
  )
}, 60_000)
