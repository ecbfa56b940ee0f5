import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { cleanEnv, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'

/* What the pages tell a newcomer to run beside `npm start` runs as it stands, but for the port and the demo key. */

let host: RunningHost
beforeAll(async () => {
  host = await startHost({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_CACHE_DEADLINE_MS: '5000' })
})
afterAll(() => host?.stop())

/** The one block of a page in a language that asks the local host with the demo key. */
async function blockOf(page: string, language: string): Promise<string> {
  const text = readFileSync(join(ROOT, page), 'utf8')
  const blocks = [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))]
    .map(([, code = '']) => code)
    .filter((code) => /tg_…|demo-key/.test(code))
  expect(blocks).toHaveLength(1)
  const key = await newKey(openAccount(inject('azurite')), unique('reader'))
  return (blocks[0] ?? '')
    .replaceAll('http://127.0.0.1:7071', host.url)
    .replaceAll('$(cat .azurite/demo-key)', key)
    .replaceAll('tg_…', key)
}

async function run(command: string, args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(command, args, { cwd: ROOT, env: cleanEnv({}) })).stdout
}

const PAGES = ['README.md', 'docs/openai.md', 'docs/embeddings.md', 'docs/responses.md']
const curl = spawnSync('curl', ['--version']).status === 0

// Without curl on the machine there is nothing that could run them.
test.skipIf(!curl).for(PAGES)('commands of %s', async (page) => {
  const output = await run('sh', ['-ec', await blockOf(page, 'sh')])
  const statuses = (output.match(/^HTTP\/1\.1 \d+|^\d{3}$/gm) ?? []).map((line) => line.slice(-3))
  expect(statuses.length).toBeGreaterThan(0)
  const refused = page === 'README.md' ? ['401', '429'] : []
  expect([...new Set(statuses)].toSorted()).toEqual(['200', ...refused])
})

test.for(PAGES)('code of %s', async (page) => {
  await run(process.execPath, ['--input-type=module-typescript', '-e', await blockOf(page, 'ts')])
})
