import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { openApiEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `GET /api/openapi.json`: all routes and their schemas. Open to anyone: there is no secret and no setting in it. */
export function registerOpenApi(): void {
  app.http('open-api', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'openapi.json',
    handler: httpHandler(openApiEntry({ base: '/api' })),
  })
}
