import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Middleware from '@tollgate/middleware'
import { MIDDLEWARE } from './limits-under-test.ts'

/** Of the middleware, what a call to a model goes through. */
export type CallParts = Pick<
  typeof Middleware,
  'bodyOf' | 'budget' | 'chat' | 'limiter' | 'pipeline' | 'resolvePolicy' | 'route' | 'upstream'
>

/** Loaded when it is asked for, so that a defect can be planted before. */
export async function loadCallParts(): Promise<CallParts> {
  return import(pathToFileURL(join(MIDDLEWARE, 'index.ts')).href)
}
