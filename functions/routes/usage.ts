import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, readEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `GET /api/usage`, `GET /api/usage/requests/{id}`. Anonymous to the platform, because Tollgate is the auth. */
export function registerUsageApi(gateway: () => Gateway): void {
  app.http('usage-api', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'usage/{*path}',
    handler: httpHandler(readEntry(() => gateway().usageApi)),
  })
}
