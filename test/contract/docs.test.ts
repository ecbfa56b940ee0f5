import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { resolvePolicy } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { ROOT } from '../support/host.ts'

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const yamlIn = (file: string) =>
  [...read(file).matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => parse(text ?? ''))

test.each([
  'README.md',
  'docs/embeddings.md',
  'docs/identity.md',
  'docs/policy.md',
  'docs/prices.md',
  'docs/routing.md',
  'docs/targets.md',
])('the policies in %s are policies', (file) => {
  const documents = yamlIn(file)
  expect(documents.length).toBeGreaterThan(0)
  for (const document of documents) {
    const env = {
      OPENAI_ENDPOINT: 'https://x.openai.azure.com',
      OPENAI_API_KEY: 'k',
      OPENAI_LAMBDA_URL: 'http://127.0.0.1/',
      OPENAI_AWS_ID: 'id',
      OPENAI_AWS_KEY: 'key',
    }
    const bounds = { env, readable: ['OPENAI_*'], hosts: ['127.0.0.1'] }
    expect(() => resolvePolicy(document, { source: file, bounds, defaultTarget: undefined })).not.toThrow()
  }
})

test('every setting that the code reads is documented', () => {
  const sources = [
    'functions/settings.ts',
    'packages/middleware/src/storage/location.ts',
    'packages/local-host/src/start.ts',
    'packages/local-host/src/storage.ts',
  ]
  const names = sources.flatMap(
    (file) => read(file).match(/\b(?:TOLLGATE|OPENAI|AZURE_CLIENT|AzureWebJobsStorage)\w*/g) ?? [],
  )
  const documented = read('docs/settings.md')
  const missing = [...new Set(names)].filter(
    (name) => name !== 'AzureWebJobsStorage__clientId' && !documented.includes(name),
  )
  expect(missing).toEqual([])
})
