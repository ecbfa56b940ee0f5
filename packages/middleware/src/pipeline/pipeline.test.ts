import { describe, expect, test } from 'vitest'
import { baseContext, replyText, request, textReply } from '../../../../test/support/base-context.ts'
import { type Middleware, pipeline, type RequestHeaders } from './index.ts'

const base = baseContext()
const ok = () => textReply('ok')

/** Notes when it is entered and left. */
function noted(name: string, notes: string[]): Middleware {
  return async (_request, _context, next) => {
    notes.push(`${name} in`)
    const response = await next()
    notes.push(`${name} out`)
    return response
  }
}

describe('a pipeline', () => {
  test('enters its middleware in order and leaves them in the reverse order', async () => {
    const notes: string[] = []
    const handler = pipeline()
      .use(noted('a', notes))
      .use(noted('b', notes))
      .handle(() => {
        notes.push('handler')
        return ok()
      })
    await handler(request, base)
    expect(notes).toEqual(['a in', 'b in', 'handler', 'b out', 'a out'])
  })

  test('without middleware is its handler', async () => {
    expect(await replyText(await pipeline().handle(ok)(request, base))).toBe('ok')
  })

  test('gives every middleware the same request', async () => {
    const seen: unknown[] = []
    const look: Middleware = (given, _context, next) => {
      seen.push(given)
      return next()
    }
    await pipeline().use(look).use(look).handle(ok)(request, base)
    expect(seen).toEqual([request, request])
    expect(seen[0]).toBe(request)
  })

  test('gives the middleware within the request that was passed on, and those around keep theirs', async () => {
    const seen: unknown[] = []
    const look: Middleware = async (given, _context, next) => {
      seen.push(given)
      const response = await next()
      seen.push(given)
      return response
    }
    const other = { ...request, signal: AbortSignal.abort() }
    const replace: Middleware = (_request, _context, next) => next(undefined, other)
    await pipeline()
      .use(look)
      .use(replace)
      .use(look)
      .handle((given) => {
        seen.push(given)
        return ok()
      })(request, base)
    expect(seen).toEqual([request, other, other, other, request])
    expect(seen[1]).toBe(other)
  })

  test('stops where a middleware answers', async () => {
    const notes: string[] = []
    const handler = pipeline()
      .use(noted('a', notes))
      .use(() => textReply('no', 401))
      .use(noted('never', notes))
      .handle(ok)
    expect(await handler(request, base)).toMatchObject({ status: 401 })
    expect(notes).toEqual(['a in', 'a out'])
  })

  test('lets a middleware replace the answer on its way back', async () => {
    const handler = pipeline()
      .use(async (_request, _context, next) => textReply(`<${await replyText(await next())}>`))
      .handle(ok)
    expect(await replyText(await handler(request, base))).toBe('<ok>')
  })

  test('adds to the context for the middleware within, and not for those around', async () => {
    const seen: object[] = []
    const handler = pipeline()
      .use<{ a: number }>(async (_request, context, next) => {
        const response = await next({ a: 1 })
        seen.push({ ...context })
        return response
      })
      .use<{ b: number }>((_request, { a }, next) => next({ b: a + 1 }))
      .handle((_request, { a, b }) => {
        seen.push({ a, b })
        return ok()
      })
    await handler(request, base)
    expect(seen).toEqual([{ a: 1, b: 2 }, { ...base }])
    expect(seen[1]).not.toHaveProperty('a')
  })

  test('does not mix the contexts of requests under way together', async () => {
    const { promise: both, resolve } = Promise.withResolvers<void>()
    let entered = 0
    const handler = pipeline<{ given: number }>()
      .use<{ mine: number }>((_request, { given }, next) => next({ mine: given }))
      .handle(async (_request, { mine }) => {
        entered += 1
        if (entered === 2) resolve()
        await both
        return textReply(String(mine))
      })
    const [one, two] = await Promise.all([
      handler(request, { ...base, given: 1 }),
      handler(request, { ...base, given: 2 }),
    ])
    expect([await replyText(one), await replyText(two)]).toEqual(['1', '2'])
  })

  test('passes a fault out through every middleware, which may catch it', async () => {
    const notes: string[] = []
    const fault = new Error('boom')
    const failing = pipeline()
      .use(noted('a', notes))
      .handle(() => {
        throw fault
      })
    await expect(failing(request, base)).rejects.toBe(fault)
    expect(notes).toEqual(['a in'])

    const caught = pipeline()
      .use(async (_request, _context, next) => next().catch(() => textReply('caught')))
      .handle(() => {
        throw fault
      })
    expect(await replyText(await caught(request, base))).toBe('caught')
  })

  test('turns a synchronous throw in a middleware into a rejection', async () => {
    const handler = pipeline()
      .use(() => {
        throw new Error('at once')
      })
      .handle(ok)
    await expect(handler(request, base)).rejects.toThrow('at once')
  })

  test('refuses a second next(), whether the first has ended or not', async () => {
    const twice = pipeline()
      .use(async (_request, _context, next) => {
        await next()
        return next()
      })
      .handle(ok)
    const together = pipeline()
      .use(async (_request, _context, next) => {
        const [first] = await Promise.all([next(), next()])
        return first
      })
      .handle(ok)
    await expect(twice(request, base)).rejects.toThrow('next() was called more than once')
    await expect(together(request, base)).rejects.toThrow('next() was called more than once')
  })

  test('can be run again and again', async () => {
    let runs = 0
    const handler = pipeline()
      .use((_request, _context, next) => next())
      .handle(() => {
        runs += 1
        return ok()
      })
    await handler(request, base)
    await handler(request, base)
    expect(runs).toBe(2)
  })

  test('forks: what is added to one branch is not in the other', async () => {
    const notes: string[] = []
    const trunk = pipeline().use(noted('trunk', notes))
    const left = trunk.use(noted('left', notes)).handle(ok)
    const right = trunk.handle(ok)
    await right(request, base)
    expect(notes).toEqual(['trunk in', 'trunk out'])
    await left(request, base)
    expect(notes.slice(2)).toEqual(['trunk in', 'left in', 'left out', 'trunk out'])
  })

  test('nests: a finished pipeline can be another’s handler', async () => {
    const notes: string[] = []
    const inner = pipeline().use(noted('inner', notes)).handle(ok)
    await pipeline().use(noted('outer', notes)).handle(inner)(request, base)
    expect(notes).toEqual(['outer in', 'inner in', 'inner out', 'outer out'])
  })
  test('goes as well over other inputs and outputs: the call onion is the same', async () => {
    const handler = pipeline<{}, { n: number; signal: AbortSignal; headers: RequestHeaders }, string>()
      .use<{ added: number }>(
        async (input, _context, next) => `<${await next({ added: 1 }, { ...input, n: input.n + 1 })}>`,
      )
      .handle(({ n }, { added }) => `${n} ${added}`)
    expect(await handler({ ...request, n: 1 }, base)).toBe('<2 1>')
  })
})
