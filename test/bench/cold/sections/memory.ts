import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, startHost } from '../../../support/host.ts'
import { AMPLE, newConsumers, PLAN, startGateway, startTables, writePolicy } from '../../cache/gateway.ts'
import { runLoad } from '../../harness.ts'
import { spread } from '../../statistics.ts'
import { atMost, num, percent, type Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'

const CONNECTIONS = 40
const READING_EVERY_MS = 200
const MOST_APART = 0.1
/** No load takes longer. */
const SECONDS = 3_600

/** How much memory a process takes when it has answered many requests of which no two are alike. */
export async function memory(bench: Workbench): Promise<readonly Section[]> {
  const { quick, folder } = bench
  // 64 MiB of 16 KiB each are some 4,000; in a quick run the cache is not full, and the figures mean nothing.
  const fill = quick ? 40 : 5_000
  const each = quick ? 200 : 10_000
  const [rounds, readings] = quick ? [2, 1] : [10, 5]
  const policy = writePolicy(folder, 'memory', { plans: { [PLAN]: AMPLE } })
  const [tables, model] = await Promise.all([
    running(bench, startTables()),
    running(bench, startHost({}, join(ROOT, 'test/bench/cold/servers/long-model.ts'), /answers on (\S+)/)),
  ])
  const named = Array.from({ length: CONNECTIONS }, (_, index) => ({ consumer: `memory-${index}`, plan: PLAN }))
  const [gateway, keys] = await Promise.all([
    running(bench, startGateway({ tables: tables.url, model: model.url }, policy)),
    newConsumers(tables.url, named),
  ])
  const ask = (name: string, requests: number) =>
    runLoad(name, {
      url: `${gateway.url}/api/generate`,
      method: 'POST',
      headers: keys.map(({ key }) => ({ 'x-api-key': key })),
      body: JSON.stringify({ prompt: 'What is a tollgate? {n}' }),
      expect: { header: 'cache-status', holds: 'fwd=miss' },
      name,
      each: requests / CONNECTIONS,
      seconds: SECONDS,
    })

  await ask('fill', fill)
  const samples: { readonly requests: number; readonly bytes: number }[] = []
  for (let sample = 1; sample <= rounds; sample += 1) {
    await ask(`sample ${sample}`, each)
    samples.push({ requests: sample * each, bytes: await residentBytes(gateway.process.pid ?? 0, readings) })
    process.stderr.write('.')
  }
  process.stderr.write('\n')

  const [first, last] = [samples[0]?.bytes ?? Number.NaN, samples.at(-1)?.bytes ?? Number.NaN]
  const apart = Math.abs(last - first) / first
  const count = (requests: number) => requests.toLocaleString('en')
  return [
    {
      title: 'Memory',
      method: `One gateway on the local host, ${CONNECTIONS} connections, each with a consumer of its own; no two requests have the same prompt, and each answer has 16 KiB and is stored. The cache in memory is filled before, by ${count(fill)} requests. Then, after each ${count(each)} requests, the process's resident memory, as the system tells it: the median of ${readings} readings within a second.`,
      tables: [
        {
          head: ['requests', 'resident memory, MiB'],
          rows: samples.map(({ requests, bytes }) => [count(requests), num(bytes / 2 ** 20)]),
        },
      ],
      findings: [
        `Between ${count(each)} and ${count(rounds * each)} requests the memory goes from ${num(first / 2 ** 20)} to ${num(last / 2 ** 20)} MiB: ${percent(apart)} apart.`,
      ],
      bars: quick
        ? []
        : [
            atMost(
              `resident memory at ${count(each)} and at ${count(rounds * each)} requests, apart`,
              apart * 100,
              MOST_APART * 100,
              ' %',
            ),
          ],
      must: [],
    },
  ]
}

/** @throws where the system does not tell: only Linux does. */
async function residentBytes(pid: number, count: number): Promise<number> {
  const readings: number[] = []
  for (let reading = 0; reading < count; reading += 1) {
    await new Promise((resolve) => setTimeout(resolve, READING_EVERY_MS))
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    readings.push(Number(kib) * 1024)
  }
  return spread(readings).median
}
