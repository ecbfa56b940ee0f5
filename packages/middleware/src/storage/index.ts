export { type StorageLocation, StorageSettingError, storageLocation } from './location.ts'
export { openRedis } from './redis.ts'
export { type Redis, type RedisArgument, type RedisReply, RedisUnreachable } from './redis-connection.ts'
export { type RedisScript, redisScript } from './redis-script.ts'
export {
  type Before,
  type EntityKey,
  listEntities,
  listEntitiesBefore,
  type OpenTable,
  openTables,
  readEntity,
  statusOf,
  type TableName,
  writeEntity,
} from './tables.ts'
