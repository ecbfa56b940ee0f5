import { app } from '@azure/functions'
import { httpHandler } from '@tollgate/azure-functions'
import { type Gateway, manageEntry } from '@tollgate/middleware'
import { METHODS } from './methods.ts'

/** `/api/manage/…`: what operators see and change. Anonymous to the platform, because Tollgate is the auth: no function key opens it. */
export function registerManage(gateway: () => Gateway): void {
  app.http('manage', {
    methods: METHODS,
    authLevel: 'anonymous',
    route: 'manage/{*path}',
    handler: httpHandler(manageEntry(() => gateway().manageApi)),
  })
}
