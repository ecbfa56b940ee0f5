import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * What the tests start again and again. As one file each it starts in half the time that its sources take; and the bare host
 * runs on a Node that runs no TypeScript.
 */
export const BUNDLED: readonly string[] = [
  'test/support/bare-host.ts',
  'packages/cli/src/tollgate.ts',
  'test/bench/limits/driver.ts',
  'test/bench/store/calls.ts',
].map((path) => join(ROOT, path))

/** In the environment of what tests start, where there are bundles (bundle-setup.ts). It is no setting of Tollgate's. */
export const HAS_BUNDLES = 'TEST_BUNDLES'

/** Of one name in each run, so that what V8 keeps of it is found again; as deep in the checkout as a package's sources. */
export function bundleOf(script: string): string {
  const [, name = ''] = /([^/\\]+)\.ts$/.exec(script) ?? []
  return join(ROOT, 'node_modules/.cache/tollgate', `${name}.mjs`)
}

/** The script, or its bundle where there is one. */
export function bundled(script: string): string {
  return process.env[HAS_BUNDLES] !== undefined && BUNDLED.includes(script) ? bundleOf(script) : script
}
