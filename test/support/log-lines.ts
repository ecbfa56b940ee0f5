import {
  type Entry,
  fromIterable,
  generate,
  type HttpResponse,
  issueKey,
  ledger,
  memoryTable,
  type OpenAISettings,
  resolvePolicy,
  StoreUnavailable,
  trace,
} from '@tollgate/middleware'
import { replyText, request } from './base-context.ts'
import { finishedRequest } from './finished-request.ts'
import { gatewayOver } from './gateway.ts'
import { answering, failing, startUpstream, streaming } from './upstream.ts'

export interface LogLine {
  readonly event: string
  readonly [field: string]: unknown
}

/**
 * The lines that requests leave in the log, of a gateway over stores in memory: a miss, a hit, a stream, one that a limit refuses,
 * one whose model has no such deployment, one that its model's service fails, one whose client has left, and a defect; and those
 * of a ledger whose table is down.
 */
export async function logLines(): Promise<readonly LogLine[]> {
  const lines: LogLine[] = []
  const upstream = await startUpstream()
  const target: OpenAISettings = { kind: 'openai', baseUrl: upstream.baseUrl, model: 'm', key: 'k' }
  const limits = [
    { requests: 6, per: 'day' },
    { usd: 1, per: 'day' },
  ]
  const policy = resolvePolicy(
    { plans: { all: { limits } }, models: { default: { price: { input: 1, output: 2 } } } },
    { source: 'a test', bounds: { env: {}, hosts: [], readable: [] }, defaultTarget: target },
  )
  const gateway = gatewayOver(policy)
  const plan = { plan: 'all', defaultPlan: 'all', plans: ['all'], now: Date.now() }
  const { key } = await issueKey(gateway.consumers, { consumer: 'alice', ...plan })
  const entry = trace({ refuse: generate.refuse, handler: () => gateway.handler(generate) })
  const broken = trace({
    refuse: generate.refuse,
    handler: () => () => {
      throw new TypeError('x is not a function')
    },
  })

  async function ask(body: object, way: Entry = entry, signal: AbortSignal = request.signal): Promise<void> {
    const headers = new Headers({ 'x-api-key': key })
    const sent = { ...request, headers, signal, body: fromIterable([Buffer.from(JSON.stringify(body))]) }
    const response: HttpResponse = await way(sent, (_level, line) => lines.push(line as LogLine))
    await replyText(response)
  }

  try {
    upstream.reply = answering()
    await ask({ prompt: 'Why?' })
    await ask({ prompt: 'Why?' })
    upstream.reply = streaming(['be', 'cause'])
    await ask({ prompt: 'How?', stream: true })
    upstream.reply = failing(404, { code: 'DeploymentNotFound' })
    await ask({ prompt: 'Where?' })
    upstream.reply = failing(500, { code: 'server_error' })
    await ask({ prompt: 'When?' })
    await ask({ prompt: 'Who?' }, entry, AbortSignal.abort(new DOMException('The client has left', 'AbortError')))
    await ask({ prompt: 'What?' })
    await ask({ prompt: 'Whence?' })
    await ask({ prompt: 'Whose?' }, broken)
  } finally {
    await gateway.close()
    await upstream.close()
  }
  // As they are written: a field that says nothing is in no line.
  return JSON.parse(JSON.stringify([...lines, ...(await linesOfLostUsage())]))
}

async function linesOfLostUsage(): Promise<LogLine[]> {
  const lines: LogLine[] = []
  const table = { ...memoryTable(), put: () => Promise.reject(new StoreUnavailable()) }
  const book = ledger({ table, maxBytes: 1, log: (_level, event, fields) => lines.push({ event, ...fields }) })
  book.record(finishedRequest())
  await book.close()
  return lines
}
