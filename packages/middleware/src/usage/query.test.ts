import { describe, expect, test } from 'vitest'
import { usageQuery, whyQuery } from './query.ts'

const NOW = Date.UTC(2026, 10, 27, 12)
const DAY_MS = 86_400_000

describe('what is asked of the ledger', () => {
  test('is the last week by consumer where nothing is said, and the last day of a request', () => {
    expect(usageQuery({}, NOW)).toEqual({ by: 'consumer', since: NOW - 7 * DAY_MS, until: NOW })
    expect(whyQuery({}, NOW)).toEqual({ since: NOW - DAY_MS, until: NOW })
  })

  test.each([
    ['30m', NOW - 30 * 60_000],
    ['12h', NOW - DAY_MS / 2],
    ['7d', NOW - 7 * DAY_MS],
    ['2026-11-01', Date.UTC(2026, 10, 1)],
    ['2026-11-01T08:30Z', Date.UTC(2026, 10, 1, 8, 30)],
    ['2026-11-01T08:30:15.5+02:00', Date.UTC(2026, 10, 1, 6, 30, 15, 500)],
  ])('since %s is that moment', (since, moment) => {
    expect(usageQuery({ since }, NOW)).toMatchObject({ since: moment, until: NOW })
    expect(whyQuery({ since: '400d', until: since }, NOW)).toMatchObject({ until: moment })
  })

  test('may be of one consumer, one model, or the requests that named none', () => {
    expect(usageQuery({ by: 'target', consumer: 'alice', model: '' }, NOW)).toMatchObject({
      by: 'target',
      consumer: 'alice',
      model: '',
    })
  })

  test.each([
    [{ by: 'user' }, 'by', 'must be consumer, model or target'],
    [{ by: '' }, 'by', 'must be consumer, model or target'],
    [{ since: 'yesterday' }, 'since', 'must be a span back from now such as 30m'],
    [{ since: '7w' }, 'since', 'such as'],
    [{ since: '2026-02-31' }, 'since', 'such as'],
    [{ since: '2026-11-01T08:30' }, 'since', 'such as'],
    [{ until: '1.5h' }, 'until', 'such as'],
    [{ since: '1d', until: '2d' }, 'since', "must be before 'until'"],
    [{ since: 'now' }, 'since', 'must be before now'],
    [{ until: '8d' }, 'until', "must be after 'since', which is 7d by default"],
    [{ consumer: '' }, 'consumer', 'must be the name of a consumer'],
    [{ model: 'm'.repeat(513) }, 'model', 'of at most 512 characters'],
  ])('%j is refused by its name, with what it must be', (asked, parameter, rule) => {
    expect(usageQuery(asked, NOW)).toEqual({ parameter, rule: expect.stringContaining(rule) })
  })
})
