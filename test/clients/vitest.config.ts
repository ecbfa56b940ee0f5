import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('../..', import.meta.url)),
    include: ['test/clients/**/*.test.ts'],
    globalSetup: ['test/support/bundle-setup.ts', 'test/support/azurite-setup.ts'],
    testTimeout: 45_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Most of their time is a client’s wait before it asks again; more at once are more than Azurite takes on a busy machine.
    maxConcurrency: 12,
    retry: process.env.CI ? 1 : 0,
  },
})
