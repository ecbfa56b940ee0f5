export { type Admitting, type Authenticated, type AuthenticateOptions, authenticate } from './authenticate.ts'
export { type Caller, callerOfKey, type KeyGrant } from './caller.ts'
export { clientNetwork } from './client-network.ts'
export { type Consumer, familyOf, isConsumerId, type KeyRecord } from './consumer.ts'
export { type IssuedKey, IssueKeyError, issueKey } from './issue-key.ts'
export { generateKey, looksLikeKey, type ParsedKey, parseKey, sameDigest } from './key.ts'
export {
  type KeyDirectory,
  type KeyDirectoryOptions,
  keyDirectory,
  type LookupGuard,
  type LookupReservation,
} from './key-directory.ts'
export { keyGroups } from './key-groups.ts'
export { type KeyUses, type KeyUsesOptions, keyUses } from './key-uses.ts'
export { type PlanSurvey, surveyPlans, surveyText } from './plan-survey.ts'
export { METADATA_PATH, protectedResource } from './protected-resource.ts'
export { type ReissuedKey, type ReissueKeyOptions, reissueKey } from './reissue-key.ts'
export { DEFAULT_SCOPES, SCOPES, type Scope } from './scope.ts'
export type { ConsumerChange, ConsumerStore, KeyChange, KeyReplacement } from './store.ts'
export { memoryConsumerStore } from './stores/memory.ts'
export { tableConsumerStore } from './stores/table.ts'
export {
  type FoundToken,
  isTokenConsumer,
  type KnownToken,
  PRINCIPAL_HEADER,
  type ReadDocument,
  type TokenDirectory,
  type TokenDirectoryOptions,
  type TokenPolicy,
  tokenDirectory,
} from './tokens/index.ts'
