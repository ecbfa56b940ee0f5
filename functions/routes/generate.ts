import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, generate, type Telemetry, tellingEnds, trace } from '@tollgate/middleware'

/**
 * `POST /api/generate`, and the same under its public path, which the host prefers to the clients' `v1/{*path}`. Anonymous to
 * the platform, because Tollgate is the auth.
 */
export function registerGenerate(gateway: () => Gateway, telemetry: () => Telemetry | undefined): void {
  const handler = httpHandler(
    trace({
      refuse: generate.refuse,
      handler: () => gateway().handler(generate),
      finished: tellingEnds(gateway),
      telemetry,
    }),
  )
  app.http('generate', { methods: ['POST'], authLevel: 'anonymous', route: 'generate', handler })
  app.http('generate-v1', { methods: ['POST'], authLevel: 'anonymous', route: 'v1/llm/generate', handler })
}
