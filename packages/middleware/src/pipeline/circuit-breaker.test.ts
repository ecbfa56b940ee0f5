import { beforeEach, describe, expect, test } from 'vitest'
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.ts'

describe('a circuit breaker', () => {
  let now: number
  let told: unknown[]
  let breaker: CircuitBreaker
  beforeEach(() => {
    now = 1_000
    told = []
    breaker = circuitBreaker({
      time: { now: () => now },
      opensAfter: 3,
      pauseMs: () => 200,
      onFailing: (cause) => told.push(cause),
      onRecovered: (series) => told.push(series),
    })
  })

  test('asks on until so many failures came one after the other, then one probe a pause', () => {
    for (const _ of [1, 2]) breaker.failed('down')
    expect([breaker.allows(), breaker.allows()]).toEqual([true, true])
    breaker.failed('down')
    expect(breaker.allows()).toBe(false)
    now += 200
    expect([breaker.allows(), breaker.allows()]).toEqual([true, false])
    now += 199
    expect(breaker.allows()).toBe(false)
    now += 1
    expect(breaker.allows()).toBe(true)
  })

  test('closes with the first success, and a series begins anew', () => {
    for (const _ of [1, 2, 3]) breaker.failed('down')
    breaker.succeeded()
    expect([breaker.allows(), breaker.allows()]).toEqual([true, true])
    for (const _ of [1, 2]) breaker.failed('again')
    expect(breaker.allows()).toBe(true)
  })

  test('tells of the first failure of a series and of its end, and of none between', () => {
    for (const cause of ['first', 'second', 'third']) breaker.failed(cause)
    now += 500
    expect(breaker.failingFor()).toBe(500)
    breaker.succeeded()
    breaker.succeeded()
    expect(told).toEqual(['first', { failedMs: 500, failures: 3 }])
    expect(breaker.failingFor()).toBeUndefined()
  })

  test('counts a pause from when the failed call was sent', () => {
    for (const _ of [1, 2, 3]) breaker.failed('down', now - 150)
    now += 49
    expect(breaker.allows()).toBe(false)
    now += 1
    expect(breaker.allows()).toBe(true)
  })

  test('rests after a defect, which is no failure', () => {
    breaker.rest()
    expect(breaker.allows()).toBe(false)
    now += 200
    expect([breaker.allows(), breaker.allows()]).toEqual([true, true])
    expect([breaker.failingFor(), told]).toEqual([undefined, []])
  })

  test('tells how long it says no, and claims nothing by it', () => {
    expect([breaker.waitMs(), breaker.isOpen()]).toEqual([0, false])
    for (const _ of [1, 2, 3]) breaker.failed('down')
    now += 50
    expect([breaker.waitMs(), breaker.isOpen()]).toEqual([150, true])
    now += 150
    expect([breaker.waitMs(), breaker.waitMs(), breaker.allows(), breaker.waitMs()]).toEqual([0, 0, true, 200])
  })

  test('lets the next one ask where a probe told nothing, and else none while it lasts', () => {
    breaker = circuitBreaker({ time: { now: () => now }, opensAfter: 1, pauseMs: () => 200, probeMs: 10_000 })
    breaker.failed('down')
    now += 200
    expect(breaker.allows()).toBe(true)
    now += 9_999
    expect(breaker.allows()).toBe(false)
    breaker.release()
    expect([breaker.allows(), breaker.allows()]).toEqual([true, false])
    now += 10_000
    expect(breaker.allows()).toBe(true)
  })

  test('counts the pauses of an outage, for one that grows', () => {
    const counted: number[] = []
    const pauseMs = (pauses: number) => {
      counted.push(pauses)
      return 100
    }
    breaker = circuitBreaker({ time: { now: () => now }, opensAfter: 1, pauseMs, probeMs: 1_000 })
    for (const _ of [1, 2, 3]) {
      breaker.failed('down')
      now += 100
      breaker.allows()
    }
    breaker.succeeded()
    breaker.failed('down')
    expect(counted).toEqual([0, 1, 2, 0])
  })
})
