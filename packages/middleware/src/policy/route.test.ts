import { expect, test } from 'vitest'
import { listText, policyJsonSchema, type ResolveOptions, ROUTES, resolvePolicy, routeOf } from './index.ts'
import { outlineDocument } from './resolve.ts'

const OPTIONS: ResolveOptions = {
  source: 'test.yaml',
  bounds: { env: {}, readable: [], hosts: [] },
  defaultTarget: undefined,
}
const MODELS = { models: { small: { targets: [{ openai: { model: 'm' } }] } } }
const resolve = (document: object, routes?: readonly string[]) =>
  resolvePolicy({ ...MODELS, ...document }, { ...OPTIONS, routes })
const OWN = ['generate', 'chat', 'summaries']

test('a route that the policy does not name has the defaults, of whatever surface it is', () => {
  for (const name of ['generate', 'chat', 'summaries']) {
    expect(routeOf(resolve({}), name)).toEqual({
      model: 'default',
      cache: { ttlMs: 3_600_000, sampled: true, scope: 'consumer', tools: false },
      transforms: { lineEndings: false, minifyJson: false, dropDuplicates: [] },
    })
  }
})

test('each surface of a composition has its own route by name', () => {
  const policy = resolve({ routes: { summaries: { model: 'small', cache: false } } }, OWN)
  expect(routeOf(policy, 'summaries')).toMatchObject({ model: 'small', cache: undefined })
  expect(routeOf(policy, 'generate').model).toBe('default')
  const outline = outlineDocument(
    { value: { ...MODELS, routes: { summaries: { model: 'small' } } }, source: 'test.yaml', isFile: false },
    { routes: OWN },
  )
  expect(routeOf(outline, 'summaries').model).toBe('small')
  expect(outline.models.get('small')?.servedAs).toBe('m')
})

test.each<[string, object, readonly string[] | undefined, string]>([
  [
    'a misspelt route',
    { genrate: {} },
    undefined,
    `routes.genrate: unknown field. Did you mean 'generate'? routes takes ${listText(ROUTES)}.`,
  ],
  [
    'a misspelt route of a composition’s own',
    { sumaries: {} },
    OWN,
    "routes.sumaries: unknown field. Did you mean 'summaries'? routes takes generate, chat and summaries.",
  ],
  [
    'the route of a surface that there is not',
    { summaries: {} },
    undefined,
    `routes.summaries: unknown field. Remove it, or correct its name. routes takes ${listText(ROUTES)}.`,
  ],
  [
    'a route to a model that there is not',
    { chat: { model: 'samll' } },
    OWN,
    "routes.chat.model: there is no model 'samll' under models. Did you mean 'small'? There are: small and default.",
  ],
  [
    'a route without a value',
    { chat: null },
    OWN,
    'routes.chat: must be a map with model, cache and transforms, such as {model: default}, and it is empty. Give it a value, or remove it.',
  ],
])('%s is refused', (_what, routes, known, fault) => {
  expect(() => resolve({ routes }, known)).toThrow(`test.yaml was refused:\n  - ${fault}`)
})

test('what has no messages has no transforms', () => {
  const routes = { embeddings: { transforms: { minifyJson: true } }, responses: { transforms: {} }, generate: {} }
  expect(() => resolvePolicy({ routes }, OPTIONS)).toThrow(
    'routes.embeddings.transforms: only messages of chats are transformed. Leave it out.',
  )
})

test('routes that are no map are refused with a route that there is', () => {
  expect(() => resolvePolicy({ routes: [] }, { ...OPTIONS, routes: ['chat'] })).toThrow(
    'routes: must be a map with chat, such as {chat: {model: default}}, not an empty list.',
  )
})

test('the published schema knows the routes of a composition', () => {
  const namesIn = (schema: object) =>
    Object.keys((schema as { properties: { routes: { properties: object } } }).properties.routes.properties)
  expect(namesIn(policyJsonSchema())).toEqual(ROUTES)
  expect(namesIn(policyJsonSchema(OWN))).toEqual(OWN)
})
