import { expect, test } from 'vitest'
import { countTokens } from '../operations/o200k-base.ts'
import { savedTokens, transform } from './index.ts'

const RULE = { lineEndings: true, minifyJson: true, dropDuplicates: ['chunk'] }
const saved = (content: string) => {
  const { messages, removed } = transform([{ role: 'user', content }], RULE)
  return { counted: savedTokens(removed, new AbortController().signal), text: messages[0]?.content as string }
}

test('the tokens that were taken out are counted', async () => {
  const rows = Array.from({ length: 12 }, (_, id) => ({ id, name: `Item ${id}`, tags: ['a', 'b'] }))
  const chunk = `<chunk>\n${'The warranty lasts for two years from the day of purchase. '.repeat(9)}\n</chunk>`
  const prompt = `${chunk}\n\`\`\`json\n${JSON.stringify(rows, null, 2)}\n\`\`\`\n${chunk}\nWhy?`
  const { counted, text } = saved(prompt)
  const whole = countTokens(prompt) - countTokens(text)
  expect(whole).toBeGreaterThan(200)
  // Pieces are counted by themselves, and a token can span what is removed and what isn't.
  expect(Math.abs((await counted) - whole)).toBeLessThan(8)
})

test('of much, a part is counted and the rest is taken to be alike', async () => {
  const rows = Array.from({ length: 6_000 }, (_, id) => ({ id, name: `Item ${id}` }))
  const prompt = `<data>${JSON.stringify(rows, null, 2)}</data>`
  const { counted, text } = saved(prompt)
  const whole = countTokens(prompt) - countTokens(text)
  expect((await counted) / whole).toBeCloseTo(1, 1)
})

test('nothing taken out is nothing saved, and text like a special token is text', async () => {
  expect(await saved('a').counted).toBe(0)
  expect(await saved('<chunk><|endoftext|></chunk>\n<chunk><|endoftext|></chunk>\n').counted).toBeGreaterThan(3)
})

test('counting ends when it is not wanted any more', async () => {
  const { removed } = transform([{ role: 'user', content: '<chunk>a</chunk><chunk>a</chunk>' }], RULE)
  await expect(savedTokens(removed, AbortSignal.abort())).rejects.toThrow('aborted')
})
