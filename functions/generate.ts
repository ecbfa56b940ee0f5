import { app } from '@azure/functions'
import { trace } from '@tollgate/middleware'
import type { Gateway } from './gateway.ts'
import { refuseGenerate } from './generate-surface.ts'
import { httpHandler } from './http-adapter.ts'

/** `POST /api/generate`. Anonymous to the platform, because Tollgate is the auth. */
export function registerGenerate(gateway: () => Gateway): void {
  app.http('generate', {
    methods: ['POST'],
    authLevel: 'anonymous',
    route: 'generate',
    handler: httpHandler(trace({ refuse: refuseGenerate, handler: () => gateway().generate })),
  })
}
