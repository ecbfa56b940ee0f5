import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, readEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `GET /api/me`. Anonymous to the platform, because Tollgate is the auth. */
export function registerMe(gateway: () => Gateway): void {
  app.http('me', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'me',
    handler: httpHandler(readEntry(() => gateway().me)),
  })
}
