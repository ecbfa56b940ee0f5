import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { NEEDED } from '../packages/workshop/src/install/node.mjs'

// Node 20 would start, and fail slowly: each host that a test waits for is TypeScript, which it can't run.
if (Number.parseInt(process.versions.node, 10) < NEEDED) {
  console.error(
    `Tollgate's tests need Node ${NEEDED}, and this is Node ${process.versions.node}. Run them by npm: npm test, or npx vitest run --config test/vitest.config.ts <files>.`,
  )
  process.exit(1)
}

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    include: ['test/**/*.test.ts', 'packages/*/src/**/*.test.ts', 'functions/**/*.test.ts'],
    globalSetup: ['test/support/azurite-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
})
