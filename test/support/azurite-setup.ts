import type { TestProject } from 'vitest/node'
import { startAzurite } from './azurite.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of an Azurite that all test files share; each uses names of its own. */
    azurite: string
  }
}

/** One Azurite table service for the whole run. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { connectionString, close } = await startAzurite()
  project.provide('azurite', connectionString)
  return close
}
