import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { POLICY_FILE, strayPolicy } from '@tollgate/middleware'
import { FILES, ROOT } from './bundle.ts'
import { funcignore } from './funcignore.ts'

const NEEDED = ['host.json', 'package.json', ...FILES]
/** Policies: tollgate.policy.yaml where there is one, and whatever else a TOLLGATE_POLICY names. */
const POLICY = /^[\w.-]+\.(?:ya?ml|json)$/
/** Of that form, and something else, which may hold secrets or just has no use there. */
const NO_POLICY = /^(?:local\.settings[\w.-]*|package-lock\.json|tsconfig[\w.-]*|azure\.yaml|\..*)$/
/** Core Tools do not look into these. */
const NEVER = /^(?:\.git|\.vscode)(?:\/|$)/

export interface Deployed {
  /** From the root, with slashes. */
  readonly paths: readonly string[]
  /** What `.funcignore` lets by and must not, or leaves out and must not. */
  readonly faults: readonly string[]
}

/** What Core Tools would deploy of what is built. */
export function deployed(): Deployed {
  const isDeployed = funcignore(readFileSync(join(ROOT, '.funcignore'), 'utf8'))
  const paths = readdirSync(ROOT, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name)).split(sep).join('/'))
    .filter((path) => !NEVER.test(path) && isDeployed(path))
  // Without it the app would run on the defaults. One that is deployed is meant to be named by TOLLGATE_POLICY.
  const stray = strayPolicy(readdirSync(ROOT).filter((name) => !paths.includes(name) || name === POLICY_FILE))
  const faults = [
    ...(stray === undefined
      ? []
      : [`${stray} looks like the policy and would not be deployed: name it ${POLICY_FILE}, or move it elsewhere`]),
    ...paths
      .filter((path) => !NEEDED.includes(path) && !isPolicy(path))
      .map((path) => `.funcignore lets ${path} be deployed; remove the one or the other`),
    ...NEEDED.filter((path) => !paths.includes(path)).map((path) => `${path} is missing, or .funcignore leaves it out`),
  ]
  return { paths, faults }
}

function isPolicy(path: string): boolean {
  return POLICY.test(path) && !NO_POLICY.test(path)
}
