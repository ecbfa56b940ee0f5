import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { azureDialect, dialectEntry, type Gateway, type Telemetry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `/api/openai/…`, as the clients of Azure OpenAI ask. Anonymous to the platform, because Tollgate is the auth. */
export function registerAzureOpenai(gateway: () => Gateway, telemetry: () => Telemetry | undefined): void {
  app.http('azure-openai', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'openai/{*path}',
    handler: httpHandler(dialectEntry(azureDialect, gateway, telemetry)),
  })
}
