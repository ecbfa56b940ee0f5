/*
 * `node policy-schema.ts` writes docs/policy.schema.json; with --check it only compares.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { policyJsonSchema } from '@tollgate/middleware'
import { ROOT } from './bundle.ts'

const file = join(ROOT, 'docs/policy.schema.json')
const schema = `${JSON.stringify(policyJsonSchema(), null, 2)}\n`

if (!process.argv.includes('--check')) {
  writeFileSync(file, schema)
} else if (readFileSync(file, 'utf8') !== schema) {
  console.error('docs/policy.schema.json is not what the code says. Run: npm run schema')
  process.exitCode = 1
}
