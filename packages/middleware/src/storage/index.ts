export { type StorageLocation, StorageSettingError, storageLocation } from './location.ts'
export {
  listEntities,
  type OpenTable,
  openTables,
  readEntity,
  statusOf,
  type TableName,
  writeEntity,
} from './tables.ts'
