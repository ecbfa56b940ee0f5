import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, generate, trace } from '@tollgate/middleware'

/** `POST /api/generate`. Anonymous to the platform, because Tollgate is the auth. */
export function registerGenerate(gateway: () => Gateway): void {
  app.http('generate', {
    methods: ['POST'],
    authLevel: 'anonymous',
    route: 'generate',
    handler: httpHandler(trace({ refuse: generate.refuse, handler: () => gateway().handler(generate) })),
  })
}
