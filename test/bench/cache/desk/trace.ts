import { seeded } from '../../limits/stream.ts'

/** One question as somebody typed it. */
export interface Asked {
  /** Who asks, from 0. */
  readonly consumer: number
  /** Which question, from 0, the most frequent first. */
  readonly question: number
  readonly text: string
}

export interface TraceOptions {
  readonly requests: number
  readonly questions: number
  readonly consumers: number
  /** Zipf's exponent: the question of rank r is asked in proportion to 1 / r^s. */
  readonly exponent: number
  /** The share of requests that write the question in another way. */
  readonly variantShare: number
  readonly seed: number
}

const ACTIONS = [
  'change',
  'cancel',
  'track',
  'return',
  'exchange',
  'pay for',
  'renew',
  'find the invoice for',
  'get a refund for',
  'report a fault in',
  'reset the password of',
  'add a second user to',
  'move house with',
  'pause',
  'upgrade',
  'check the warranty of',
  'change the delivery address of',
  'download the manual of',
  'get a replacement part for',
  'complain about',
]

const THINGS = [
  'order',
  'subscription',
  'account',
  'parcel',
  'router',
  'phone',
  'contract',
  'gift card',
  'washing machine',
  'booking',
  'ticket',
  'insurance',
  'coffee machine',
  'loyalty card',
  'headphones',
  'electricity plan',
  'invoice',
  'tablet',
  'payment method',
  'repair',
]

const CASES = [
  '',
  ' after thirty days',
  ' from abroad',
  ' without the app',
  ' if it was a present',
  ' for a company',
  ' when the website shows an error',
  ' by telephone',
]

/** The ways in which the same question is written: to a cache by exact text they are questions of their own. */
const VARIANTS: readonly ((text: string) => string)[] = [
  (text) => text.toLowerCase(),
  (text) => text.replace(' ', '  '),
  (text) => `${text}\n`,
]

/** The most questions that there are words for. */
export const MOST_QUESTIONS = ACTIONS.length * THINGS.length * CASES.length

/** Questions at a help desk, some asked much more often than others: the same trace for the same options. */
export function deskTrace(options: TraceOptions): Asked[] {
  const { requests, questions, consumers, exponent, variantShare, seed } = options
  const random = seeded(seed)
  const texts = shuffled(MOST_QUESTIONS, random).slice(0, questions).map(questionText)
  const rank = zipf(questions, exponent)
  return Array.from({ length: requests }, () => {
    const question = rank(random())
    const consumer = Math.floor(random() * consumers)
    const text = texts[question] ?? ''
    const varied = random() < variantShare
    const variant = VARIANTS[Math.floor(random() * VARIANTS.length)]
    return { consumer, question, text: varied && variant !== undefined ? variant(text) : text }
  })
}

function questionText(index: number): string {
  const action = ACTIONS[index % ACTIONS.length]
  const thing = THINGS[Math.floor(index / ACTIONS.length) % THINGS.length]
  const end = CASES[Math.floor(index / (ACTIONS.length * THINGS.length))]
  return `How do I ${action} my ${thing}${end}?`
}

/** From a number in [0, 1) to a rank, from 0. */
function zipf(ranks: number, exponent: number): (drawn: number) => number {
  const sums = new Float64Array(ranks)
  let sum = 0
  for (let rank = 0; rank < ranks; rank += 1) {
    sum += 1 / (rank + 1) ** exponent
    sums[rank] = sum
  }
  return (drawn) => {
    let [low, high] = [0, ranks - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] ?? 0) > drawn * sum) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** The numbers from 0 up to a count, in another order. */
function shuffled(count: number, random: () => number): number[] {
  const numbers = Array.from({ length: count }, (_, index) => index)
  for (let last = count - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1))
    const held = numbers[last] ?? 0
    numbers[last] = numbers[other] ?? 0
    numbers[other] = held
  }
  return numbers
}
