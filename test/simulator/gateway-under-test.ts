import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Middleware from '@tollgate/middleware'
import { MIDDLEWARE } from './limits-under-test.ts'

/** Of a version of the middleware, what a call to a model goes through. */
export type CallParts = Pick<
  typeof Middleware,
  'bodyOf' | 'budget' | 'chat' | 'limiter' | 'pipeline' | 'resolvePolicy' | 'route' | 'upstream'
>

/** @param root the folder of the middleware's sources, the real ones or a mutant's */
export async function loadCallParts(root = MIDDLEWARE): Promise<CallParts> {
  return import(pathToFileURL(join(root, 'index.ts')).href)
}
