import { expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import type { TargetSettings } from '../policy/index.ts'
import { connect, targetOf, upstream } from './index.ts'

const STREAM_BOUNDS = { idleMs: 100, streamTotalMs: 1_000 }

test.each([undefined, '2024-10-21'])(
  'a token that never comes ends at the deadline like any call (API %s)',
  async (apiVersion) => {
    const settings: TargetSettings = {
      kind: 'azure',
      endpoint: 'https://x.openai.azure.com',
      model: 'd',
      apiVersion,
      key: undefined,
    }
    const handler = upstream({
      connect: connect({ token: () => new Promise(() => {}) }),
      firstByteMs: 100,
      totalMs: 100,
      ...STREAM_BOUNDS,
    })
    const context = {
      ...baseContext(),
      routed: { route: 'generate', target: targetOf(settings), cache: undefined, body: { model: 'd', messages: [] } },
    }
    expect((await handler(request, context)).status).toBe(502)
    expect(context.record.upstream).toEqual({ code: 'timeout' })
  },
)

test('a token that can’t be had is told to the operator, not to the caller', async () => {
  const settings: TargetSettings = {
    kind: 'azure',
    endpoint: 'https://x.openai.azure.com',
    model: 'd',
    apiVersion: undefined,
    key: undefined,
  }
  const token = () => Promise.reject(Object.assign(new Error('SECRET'), { name: 'CredentialUnavailableError' }))
  const lines: unknown[] = []
  const handler = upstream({ connect: connect({ token }), firstByteMs: 100, totalMs: 100, ...STREAM_BOUNDS })
  const context = {
    ...baseContext({
      refuse: (refusal) => Response.json(refusal, { status: refusal.status }),
      log: (_level, event, fields) => lines.push({ event, ...fields }),
    }),
    routed: { route: 'generate', target: targetOf(settings), cache: undefined, body: { model: 'd', messages: [] } },
  }
  const response = await handler(request, context)
  expect(await response.text()).not.toContain('SECRET')
  expect(JSON.stringify(lines)).toContain('CredentialUnavailableError')
  expect(JSON.stringify(lines)).not.toContain('SECRET')
})
