import type { HttpMethod } from '@azure/functions'

/** For routes that answer a wrong method themselves, in their client's shape: the host would say 404. */
export const METHODS: HttpMethod[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']
