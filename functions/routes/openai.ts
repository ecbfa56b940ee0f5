import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { dialectEntry, type Gateway, openaiDialect, type Telemetry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `/api/v1/…`, as OpenAI’s clients ask. Anonymous to the platform, because Tollgate is the auth. */
export function registerOpenai(gateway: () => Gateway, telemetry: () => Telemetry | undefined): void {
  app.http('openai', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'v1/{*path}',
    handler: httpHandler(dialectEntry(openaiDialect, gateway, telemetry)),
  })
}
