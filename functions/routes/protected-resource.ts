import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, readEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `GET /api/.well-known/oauth-protected-resource`: who signs callers in (RFC 9728). Open to anyone. */
export function registerProtectedResource(gateway: () => Gateway): void {
  app.http('protected-resource', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: '.well-known/oauth-protected-resource',
    handler: httpHandler(readEntry(() => gateway().protectedResource)),
  })
}
