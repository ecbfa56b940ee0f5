/*
 * `npm run simulate:usage`: 10,000 requests over three instances, and three kills, held against what the model counts by itself:
 * test/e2e/usage.test.ts with all of its requests. --requests: another number.
 */
import { startVitest } from 'vitest/node'
import { commandOptions } from '../../packages/workshop/src/command-options.ts'

const { requests = '10000' } = commandOptions('npm run simulate:usage', { requests: { type: 'string' } })
process.env.TOLLGATE_USAGE_REQUESTS = requests
const vitest = await startVitest('test', ['test/e2e/usage.test.ts'], { config: 'test/vitest.config.ts', watch: false })
await vitest.close()
