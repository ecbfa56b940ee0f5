import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Middleware from '@tollgate/middleware'
import { MIDDLEWARE } from './limits-under-test.ts'

/** All of the middleware. */
export type CallParts = typeof Middleware

/** Loaded when it is asked for, so that a defect can be planted before. */
export async function loadCallParts(): Promise<CallParts> {
  return import(pathToFileURL(join(MIDDLEWARE, 'index.ts')).href)
}
