import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, readEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `GET /api/metrics`, for Prometheus. Anonymous to the platform, because Tollgate is the auth. */
export function registerMetrics(gateway: () => Gateway): void {
  app.http('metrics', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'metrics',
    handler: httpHandler(readEntry(() => gateway().metrics)),
  })
}
