import { describe, expect, test } from 'vitest'
import { describeFault, OperatorError } from './index.ts'

const messageOf = (fault: unknown) => describeFault(fault).message

function thrownBy(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('It threw nothing')
}

// biome-ignore lint/suspicious/noExplicitAny: the faults are what the types would have found
const any = (value: unknown): any => value
const record = any({ usage: undefined })
const PROMPT = 'Tell me a SECRET'

describe('B1: the message of a programming fault', () => {
  test.each<[string, () => unknown, string]>([
    ['a property of nothing', () => record.usage.input, 'Cannot read properties of undefined (reading input)'],
    ['a method that is none', () => record.settle(), 'record.settle is not a function'],
    ['a value that can’t be taken apart', () => [...record.list], 'record.list is not iterable'],
    ['a name', () => new Function('return notDefined')(), 'notDefined is not defined'],
    ['a length', () => new Array(-1), 'Invalid array length'],
    ['a date', () => new Date(Number.NaN).toISOString(), 'Invalid time value'],
    ['a number', () => (1).toFixed(200), 'toFixed() digits argument must be between 0 and 100'],
    [
      'a loop in an object',
      () => JSON.stringify(Object.assign(record, { record })),
      'Converting circular structure to JSON',
    ],
    [
      'our own words',
      () => {
        throw new RangeError('maxChars must be a whole number above 0')
      },
      'maxChars must be a whole number above 0',
    ],
  ])('is told: %s', (_what, work, message) => {
    expect(messageOf(thrownBy(work))).toContain(message)
  })

  test.each<[string, () => unknown]>([
    ['a header’s value', () => new Headers({ 'x-api-key': `${PROMPT}\u0000.` })],
    ['an argument', () => Buffer.from(any(Symbol(PROMPT)))],
    ['a connection string', () => new URL(`redis//:SECRET@host`)],
    [
      'an address that can’t be fetched',
      () => {
        throw new TypeError('Failed to parse URL from redis://me:SECRET@host')
      },
    ],
    ['a prompt that was searched', () => 'x' in any(PROMPT)],
    ['a prompt that was called', () => [1].map(any(PROMPT))],
    ['a prompt that was iterated', () => new Map(any([PROMPT]))],
    [
      'a prompt that was written to',
      () => {
        any(PROMPT).x = 1
      },
    ],
    ['a prompt as a property', () => record.usage?.x ?? any(undefined)[PROMPT]],
    [
      'a prompt in quotes of its own',
      () => {
        throw new TypeError(`The prompt "${PROMPT}" is too long`)
      },
    ],
    [
      'what is quoted after an apostrophe',
      () => {
        throw new TypeError("Can't read 'SECRET', nor \"it's SECRET\"")
      },
    ],
    [
      'a quote that does not end',
      () => {
        throw new TypeError("Unfit 'SECRET and")
      },
    ],
    ['a time zone', () => new Intl.DateTimeFormat('en', { timeZone: 'SECRET/x' })],
    [
      'a key',
      () => {
        throw new TypeError(`No consumer has tg_SECRET1234567890`)
      },
    ],
    [
      'a token',
      () => {
        throw new TypeError('Bad token eyJhbGciOiJIUzI1NiJ9SECRET.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x')
      },
    ],
    [
      'an account',
      () => {
        throw new TypeError('Bad AccountKey=SECRET==')
      },
    ],
    [
      'a text on a second line',
      () => {
        throw new TypeError(`Bad\n${PROMPT}`)
      },
    ],
    ['JSON that can’t be parsed', () => JSON.parse(PROMPT)],
    [
      'an error of a library',
      () => {
        throw new Error(PROMPT)
      },
    ],
  ])('never tells %s', (_what, work) => {
    const fault = thrownBy(work)
    expect(fault).toBeInstanceOf(Error)
    expect(JSON.stringify(describeFault(fault))).not.toContain('SECRET')
  })

  test('is of one line and of bounded length, and the operator’s own text stays as it was written', () => {
    expect(messageOf(new TypeError('word '.repeat(1_000)))).toHaveLength(201)
    expect(messageOf(new OperatorError("Set 'x' to https://host/"))).toBe("Set 'x' to https://host/")
    expect(messageOf('SECRET')).toBeUndefined()
  })
})
