import { describe, expect, test, vi } from 'vitest'
import { tap } from './index.ts'

describe('a tapped stream', () => {
  test('passes everything, keeps nothing, and says once that it was whole', async () => {
    const pieces = [1, 2, 3].map((n) => new Uint8Array([n]))
    const pull = vi.fn((controller: ReadableStreamDefaultController<Uint8Array>) => {
      const piece = pieces.shift()
      if (piece === undefined) controller.close()
      else controller.enqueue(piece)
    })
    const onEnd = vi.fn()
    const reader = tap(new ReadableStream({ pull }, { highWaterMark: 0 }), onEnd).getReader()
    expect((await reader.read()).value).toEqual(new Uint8Array([1]))
    expect(pull).toHaveBeenCalledOnce()
    expect(onEnd).not.toHaveBeenCalled()
    while (!(await reader.read()).done);
    expect(onEnd.mock.calls).toEqual([['complete']])
  })

  test('says that it was broken, and breaks', async () => {
    const onEnd = vi.fn()
    const fault = new Error('broken')
    const source = new ReadableStream({ pull: (controller) => controller.error(fault) }, { highWaterMark: 0 })
    await expect(tap(source, onEnd).getReader().read()).rejects.toBe(fault)
    expect(onEnd.mock.calls).toEqual([['broken']])
  })

  test('cancels its source at once, even while it waits for it', async () => {
    const onEnd = vi.fn()
    const cancel = vi.fn()
    const reader = tap(new ReadableStream({ cancel }), onEnd).getReader()
    const waiting = reader.read()
    await reader.cancel('why')
    expect(cancel).toHaveBeenCalledWith('why')
    expect((await waiting).done).toBe(true)
    expect(onEnd.mock.calls).toEqual([['client_left']])
  })
})
