import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'

/* Prometheus' text format, read strictly; and Prometheus itself, where the machine has it. */

export interface Series {
  /** With a histogram's suffix. */
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly series: readonly Series[]
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const PAIR = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/y
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`, 's')

/**
 * The families of a text, in their order.
 *
 * @throws Error for what is not in the format: a sample outside of its family, a family or a series that is there twice, a value
 * that is no number.
 */
export function parseMetrics(text: string): Family[] {
  if (!text.endsWith('\n')) throw new Error('The last line has no end')
  const families: (Family & { readonly series: Series[] })[] = []
  const seen = new Set<string>()
  let ended = false
  for (const line of text.slice(0, -1).split('\n')) {
    if (ended) throw new Error(`After the end: ${line}`)
    const [, help, explained] = new RegExp(`^# HELP (${NAME}) (.+)$`).exec(line) ?? []
    const [, typed, type] = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`).exec(line) ?? []
    const family = families.at(-1)
    if (line === '# EOF') {
      ended = true
    } else if (help !== undefined && explained !== undefined) {
      if (families.some(({ name }) => name === help)) throw new Error(`Twice: ${help}`)
      families.push({ name: help, type: '', help: explained, series: [] })
    } else if (typed !== undefined && type !== undefined) {
      if (family?.name !== typed || family.type !== '') throw new Error(`No HELP before: ${line}`)
      families[families.length - 1] = { ...family, type }
    } else {
      const sample = sampleOf(line)
      if (family === undefined || !isOf(family, sample.name)) throw new Error(`In no family: ${line}`)
      const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
      if (seen.has(key)) throw new Error(`Twice: ${line}`)
      seen.add(key)
      family.series.push(sample)
    }
  }
  return families
}

function isOf({ name, type }: Family, sample: string): boolean {
  if (type === 'histogram') return new RegExp(`^${name}_(?:bucket|sum|count)$`).test(sample)
  // OpenMetrics names a counter's family without the end of its samples' name.
  return sample === name || (type === 'counter' && sample === `${name}_total`)
}

function sampleOf(line: string): Series {
  const [, name, pairs = '', text] = SAMPLE.exec(line) ?? []
  const value = Number(text)
  if (name === undefined || !Number.isFinite(value)) throw new Error(`No sample: ${line}`)
  return { name, labels: labelsOf(pairs, line), value }
}

function labelsOf(pairs: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (let at = 0; at < pairs.length; at += 1) {
    PAIR.lastIndex = at
    const [whole, label, value] = PAIR.exec(pairs) ?? []
    if (whole === undefined || label === undefined || value === undefined || label in labels) {
      throw new Error(`No labels: ${line}`)
    }
    labels[label] = value.replace(/\\(.)/g, (_, character) => (character === 'n' ? '\n' : character))
    at += whole.length
    if (at < pairs.length && pairs[at] !== ',') throw new Error(`No labels: ${line}`)
  }
  return labels
}

/** Why a test with Prometheus is not run, or nothing. */
export const NO_PROMETHEUS = ['prometheus', 'promtool'].some((name) => spawnSync(name, ['--version']).error)
  ? 'this machine has no prometheus and promtool (Debian: apt-get install prometheus)'
  : undefined

/** What `promtool check metrics` has to say: nothing, of a text without a fault. */
export function promtoolSays(text: string): string {
  const { stdout, stderr, status } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
  return status === 0 ? stderr + stdout : `${status}: ${stderr}${stdout}`
}

export interface RunningPrometheus {
  /** The result of an instant query. */
  query(expression: string): Promise<{ readonly metric: Record<string, string>; readonly value: [number, string] }[]>
  /** How the last scrape went; `undefined` before the first. */
  scraped(): Promise<{ readonly health: string; readonly error: string } | undefined>
  stop(): Promise<void>
}

/** A Prometheus that asks this URL each second, with this key. */
export async function startPrometheus(url: URL, key: string): Promise<RunningPrometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-prometheus-'))
  const port = await freePort()
  const job = {
    job_name: 'tollgate',
    metrics_path: url.pathname,
    params: Object.fromEntries([...url.searchParams].map(([name, value]) => [name, [value]])),
    authorization: { credentials: key },
    static_configs: [{ targets: [url.host] }],
  }
  const config = { global: { scrape_interval: '1s' }, scrape_configs: [job] }
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  )
  // biome-ignore lint/suspicious/noExplicitAny: what Prometheus' API answers, which has no type here
  async function api(path: string): Promise<any> {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)
    return ((await answer.json()) as { readonly data: unknown }).data
  }
  return {
    query: async (expression) => (await api(`query?query=${encodeURIComponent(expression)}`)).result,
    async scraped() {
      // Before it listens, nothing answers.
      const targets = await api('targets').catch(() => undefined)
      const [target] = targets?.activeTargets ?? []
      if (target === undefined || target.health === 'unknown') return undefined
      return { health: target.health, error: target.lastError }
    },
    async stop() {
      if (child.exitCode === null) {
        const exited = once(child, 'exit')
        child.kill()
        await exited
      }
      rmSync(folder, { recursive: true })
    },
  }
}
