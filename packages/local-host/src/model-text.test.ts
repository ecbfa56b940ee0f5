import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { outlinePolicy } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { otherModelsText, realModelText, servedByPolicy } from './model-text.ts'
import { policyText } from './policy-text.ts'

const MODELS = `
  chat: {targets: [{openai: {model: gpt-5}, zone: eu}, {azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: prod}}]}
  small: {targets: [{openai: {model: mini}}]}
  ab: {split: {chat: 90, small: 10}}
  mixed: {split: {chat: 90, default: 10}}
`

function outlineOf(text: string) {
  const root = mkdtempSync(join(tmpdir(), 'outline-'))
  writeFileSync(join(root, 'tollgate.policy.yaml'), text)
  return outlinePolicy({ root, path: undefined })
}

test.each([
  ['chat', "'chat', by the policy: REAL, gpt-5", 'small'],
  ['ab', "'ab', by the policy: REAL, gpt-5 or mini", undefined],
])(
  'the model of a route is real where the policy says where it is served, what it picks included: %s',
  (model, text, other) => {
    const outline = outlineOf(`models: ${MODELS}routes: {generate: {model: ${model}}}`)
    expect(realModelText({}, outline)).toBe(text)
    expect(otherModelsText(outline)).toBe(
      other === undefined ? '' : `; REAL, by the policy, where a request names it: ${other}`,
    )
  },
)

test('the settings, or the simulated model, serve what picks the default', () => {
  const outline = outlineOf(`models: ${MODELS}routes: {generate: {model: mixed}}`)
  expect(realModelText({}, outline)).toBeUndefined()
  expect(servedByPolicy('mixed', outline)).toBeUndefined()
  expect(realModelText({ OPENAI_API_KEY: 'k' }, outline)).toContain('billed to OPENAI_API_KEY')
})

test('the banner tells models of several targets, names that pick others, and zones', () => {
  const outline = outlineOf(`plans: {team: {limits: [], zones: [eu]}}\nmodels: ${MODELS}`)
  expect(policyText(outline)).toMatch(
    /; NO LIMIT ON MONEY in any plan; chat has 2 targets \(eu, 1 in no zone\); ab is a split of chat \(90\) and small \(10\) by consumer and mixed is a split of chat \(90\) and default \(10\) by consumer; plan team stays in eu$/,
  )
  expect(policyText(outlineOf('plans: {a: {limits: []}}'))).toMatch(/; NO LIMIT ON MONEY in any plan$/)
})
