export type { AllBlocked, Balanced, Balancer, Picking } from './balancer.ts'
export { first } from './first.ts'
