import { expect, test } from 'vitest'
import { bytesOutliving } from '../../../../test/support/outliving.ts'
import { requestsInFlight } from './requests-in-flight.ts'

test('nothing of a request outlives it, however many come and go meanwhile', () => {
  const inFlight = requestsInFlight()
  const leaving: (() => void)[] = []
  const pass = () => {
    const request = new AbortController()
    const held = new Array(100).fill(0)
    request.signal.addEventListener('abort', () => held.pop())
    leaving.push(inFlight.enter(request))
    if (leaving.length > 16) leaving.shift()?.()
  }
  expect(bytesOutliving(pass, 10_000)).toBeLessThan(100)
})
