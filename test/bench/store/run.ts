/*
 * `npm run bench:store`: what a call of the tables costs this process, by Tollgate's own way, by the SDK's client, and by
 * bare undici; writes docs/store-benchmark.md. --quick: so short that the figures mean nothing. --out <folder>: where to
 * write; with --quick nothing is written without it.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundled } from '../../support/bundled.ts'
import { ROOT, startHost } from '../../support/host.ts'
import { machine } from '../machine.ts'
import { table, withSpread } from '../report.ts'
import { spread } from '../statistics.ts'

const SUBJECTS = { undici: 'bare undici', tollgate: 'Tollgate', sdk: 'the SDK’s client' }
const CALLS = { read: 'read', miss: 'read, 404', insert: 'insert', replace: 'replace', remove: 'remove, 404' }

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, out: { type: 'string' } } })
const [rounds, count] = values.quick ? [1, 50] : [3, 3_000]
const out = values.out ?? (values.quick ? undefined : join(ROOT, 'docs'))

const service = await startHost({}, join(ROOT, 'test/bench/store/table-service.ts'), /tables at (\S+)/)
const times = new Map<string, number[]>()
try {
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of Object.keys(CALLS)) {
      for (const who of Object.keys(SUBJECTS)) {
        const script = bundled(join(ROOT, 'test/bench/store/calls.ts'))
        const { stdout, stderr, status } = spawnSync(
          process.execPath,
          [script, who, kind, service.url, String(count)],
          { encoding: 'utf8' },
        )
        if (status !== 0) throw new Error(`${who}, ${kind}: ${stderr}`)
        const name = `${who} ${kind}`
        times.set(name, [...(times.get(name) ?? []), (JSON.parse(stdout) as { us: number }).us])
        process.stderr.write('.')
      }
    }
  }
} finally {
  await service.stop('SIGKILL')
}
process.stderr.write('\n')

const of = (who: string, kind: string) => spread(times.get(`${who} ${kind}`) ?? [])
const text = [
  '# What a store call costs',
  '',
  '`npm run bench:store` measures and writes this page (some minutes). Machines differ, and are noisy: compare columns, not',
  'pages.',
  '',
  ...table(
    ['processor time a call, µs', ...Object.values(SUBJECTS)],
    Object.entries(CALLS).map(([kind, name]) => [
      name,
      ...Object.keys(SUBJECTS).map((who) => withSpread(of(who, kind))),
    ]),
  ),
  '',
  `The median of ${rounds} rounds, in parentheses the least and the most. Each figure is of a fresh process that makes ${count.toLocaleString('en')}`,
  'calls over 16 connections, after as many that are not counted; user and system time. The table service is a stub in a',
  'process of its own, reached by an account key. A row holds 600 bytes, as a completion of 1 KiB does when it is packed.',
  '',
  '- **bare undici**: the same request and answer with nothing signed and nothing made of them: the floor.',
  '- **Tollgate**: what the stores call: one signed request on undici, expected statuses as values.',
  '- **the SDK’s client**: `TableClient` of `@azure/data-tables`, its retries off, as Tollgate used it before.',
  '',
  `Measured on ${machine()}.`,
  '',
].join('\n')
console.log(text)
if (out !== undefined) {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'store-benchmark.md'), text)
}
