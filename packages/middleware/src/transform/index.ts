export { transformLabel } from './label.ts'
export type { Removal } from './removal.ts'
export { savedTokens } from './saved-tokens.ts'
export { type Transformed, transform } from './transform.ts'
