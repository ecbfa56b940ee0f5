import { openRedis, type Redis } from '@tollgate/middleware'
import { afterAll, beforeAll, describe } from 'vitest'
import { noRedis, type RedisServer, startRedis } from './redis.ts'

/**
 * A block of tests over a Redis of its own; skipped, with the reason, where there can be none.
 *
 * @param tests gets the connection, which is open as soon as a test runs
 */
export function describeWithRedis(name: string, tests: (redis: Redis) => void): void {
  describe.skipIf(noRedis)(noRedis ?? name, () => {
    let server: RedisServer
    let redis: Redis
    beforeAll(async () => {
      server = await startRedis()
      redis = openRedis(server.url)
    })
    afterAll(async () => {
      redis?.close()
      await server?.close()
    })
    tests({ send: (command, signal) => redis.send(command, signal), close: () => redis.close() })
  })
}
