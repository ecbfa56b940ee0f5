import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { boundedModel, coreInvocation, type ProgrammingModel } from './core-invocation.ts'

type Context = Parameters<ProgrammingModel['getInvocationModel']>[0]

/** The library's model, whose wait for a forwarded request has no end; and the lines that are written. */
function model({ isStreaming = true, arguments: given = () => new Promise<unknown>(() => {}) } = {}) {
  const inner: ProgrammingModel = {
    name: 'library',
    version: '4',
    getCapabilities: (defaults) => (isStreaming ? { ...defaults, HttpUri: 'http://127.0.0.1:1/' } : defaults),
    getInvocationModel: () => ({
      getArguments: given,
      invokeFunction: async () => 'result',
      getResponse: async () => 'response',
    }),
  }
  return boundedModel(inner, 10_000)
}

const lines: string[] = []
let count = 0
function contextOf(headers: Record<string, string> = {}, type = 'httpTrigger'): Context {
  count += 1
  return {
    invocationId: `invocation-${count}`,
    metadata: { bindings: { trigger: { type } } },
    request: { triggerMetadata: { Headers: { json: JSON.stringify(headers) } } },
    log: (level, category, message) => lines.push(`${level} ${category} ${message}`),
  }
}

beforeEach(() => {
  vi.useFakeTimers()
  lines.length = 0
})
afterEach(() => vi.useRealTimers())

describe('H4: an invocation whose request never reaches the library', () => {
  test.each([
    ['is ended after the time that any request may take', {}, 10_000],
    ['is ended as soon as the host has given up to send what is not ASCII', { 'x-name': 'é' }, 3_000],
    ['is ended so too where the header is none that the library takes', { 'x-name': '日本' }, 3_000],
  ])('%s, with a line that says why', async (_what, headers, ms) => {
    const bounded = model()
    await bounded.getCapabilities?.({})
    const context = contextOf(headers)
    const invocation = await bounded.getInvocationModel(context)
    const ended = expect(invocation.getArguments()).rejects.toThrow('did not forward the request')
    await vi.advanceTimersByTimeAsync(ms - 100)
    expect(coreInvocation(context.invocationId)).toBeDefined()
    await vi.advanceTimersByTimeAsync(200)
    await ended
    expect(coreInvocation(context.invocationId)).toBeUndefined()
    expect(lines).toEqual([expect.stringMatching(/^warning user \{"event":"request never arrived".*ASCII/)])
  })

  test('is ended at once where the client has sent an invocation id of its own', async () => {
    const bounded = model()
    await bounded.getCapabilities?.({})
    const invocation = await bounded.getInvocationModel(contextOf({ 'X-MS-Invocation-Id': 'mine' }))
    await expect(invocation.getArguments()).rejects.toThrow('x-ms-invocation-id')
  })

  test('is none where nothing is forwarded: without streaming, and for other triggers', async () => {
    for (const [isStreaming, type] of [
      [false, 'httpTrigger'],
      [true, 'timerTrigger'],
    ] as const) {
      const bounded = model({ isStreaming, arguments: async () => 'arguments' })
      await bounded.getCapabilities?.({})
      const invocation = await bounded.getInvocationModel(contextOf({}, type))
      expect(await invocation.getArguments()).toBe('arguments')
    }
  })
})

describe('H5: the log of an invocation', () => {
  test('writes under its id until its response is sent', async () => {
    const bounded = model({ isStreaming: false, arguments: async () => 'arguments' })
    const context = contextOf()
    const invocation = await bounded.getInvocationModel(context)
    await invocation.getArguments()
    await invocation.invokeFunction({}, [], () => {})
    coreInvocation(context.invocationId)?.log('warn', 'late')
    expect(lines).toEqual(['warning user late'])
    await invocation.getResponse({}, 'result')
    expect(coreInvocation(context.invocationId)).toBeUndefined()
  })
})
