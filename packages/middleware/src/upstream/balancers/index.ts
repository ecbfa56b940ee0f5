export type { Balancer } from './balancer.ts'
export { first } from './first.ts'
