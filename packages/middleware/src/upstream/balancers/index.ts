export { type AllBlocked, type Balanced, type Balancer, type Picking, type Waits, waitsOf } from './balancer.ts'
export { first } from './first.ts'
export { isOperators, isRedirect, MAYBE_PROCESSED, type Outcome, outcomeOf, REQUEST_TOO_LARGE } from './outcome.ts'
export { type WeightedOptions, weighted } from './weighted.ts'
