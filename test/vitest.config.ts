import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { NEEDED } from '../packages/workshop/src/install/node.mjs'

// Node 20 would start, and fail slowly: each host that a test waits for is TypeScript, which it can't run.
if (Number.parseInt(process.versions.node, 10) < NEEDED) {
  console.error(
    `Tollgate's tests need Node ${NEEDED}, and this is Node ${process.versions.node}. Run them by npm: npm test, or npx vitest run --config test/vitest.config.ts <files>.`,
  )
  process.exit(1)
}

// Hundreds of processes are started from the same sources: to strip and compile them costs each of them half a second.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../node_modules/.cache/tollgate/compiled', import.meta.url))

/** Of a minute and more each: begun last, one of them would go on alone after all others. */
const LONG = [
  'test/simulator/simulator.test.ts',
  'test/versions/',
  'test/faults/ten-dollars',
  'test/simulator/billed-calls',
  'test/simulator/routed-calls',
  'test/faults/resilience.test.ts',
  'test/e2e/start.test.ts',
  'test/bench/',
  'test/e2e/tollgate.test.ts',
  'test/e2e/keys.test.ts',
  'test/e2e/live-policy.test.ts',
]

/** Its files share the processes that run them. */
const UNITS = 'units'

/** These weigh the heap of their process, and so share it with no other file. */
const WEIGHING = ['packages/*/src/**/*-memory.test.ts']

/** A minute each, and what they run changes rarely: `npm run nightly` has them. */
const NIGHTLY = [
  ...['', 'cache-', 'limits-', 'store-'].map((of) => `test/bench/${of}bench.test.ts`),
  'test/simulator/*-defects.test.ts',
]

/** They need packages of their own: npm run test:clients. */
const OTHERS = [...configDefaults.exclude, 'test/clients/**']

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification) => {
      // Together, for a worker goes on to the next of them alone; and what is short fills the end.
      if (project.name === UNITS) return LONG.length + 1
      const place = LONG.findIndex((path) => moduleId.includes(path))
      return place === -1 ? LONG.length : place
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    exclude: OTHERS,
    projects: [
      {
        extends: true,
        // They start nothing and change nothing that another file would see: so each worker loads what they test once.
        test: {
          name: UNITS,
          include: ['packages/*/src/**/*.test.ts', 'functions/**/*.test.ts'],
          exclude: WEIGHING,
          isolate: false,
        },
      },
      {
        extends: true,
        test: { name: 'system', include: ['test/**/*.test.ts', ...WEIGHING], exclude: [...OTHERS, ...NIGHTLY] },
      },
      { extends: true, test: { name: 'nightly', include: NIGHTLY } },
    ],
    globalSetup: ['test/support/bundle-setup.ts', 'test/support/azurite-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // A machine with other work is slow, and no fault. Many wait for a clock: two processors have time for three.
    expect: { poll: { timeout: 10_000 } },
    maxWorkers: 3,
    // Many wait for real processes, and a machine that has other work may let one wait run out. What fails twice is broken.
    retry: process.env.CI ? 1 : 0,
    sequence: { sequencer: LongFirst },
  },
})
