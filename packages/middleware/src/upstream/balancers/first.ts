import type { Balancer } from './balancer.ts'

/** The first candidate, always. */
export function first(): Balancer {
  return { pick: ([candidate]) => candidate, report: () => {}, states: () => [] }
}
