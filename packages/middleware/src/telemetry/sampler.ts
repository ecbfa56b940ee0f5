import type { Sampler } from './request-trace.ts'

/*
 * OpenTelemetry's samplers, by the names of OTEL_TRACES_SAMPLER. What is decided here is told to the model's service, so it is
 * decided before the SDK is loaded, by the SDK's own rule.
 */

const ALL: Sampler = () => true
const NONE: Sampler = () => false

/** By the rule of OpenTelemetry's `TraceIdRatioBasedSampler`, so that services with the same ratio keep the same traces. */
function ofTraces(ratio: number): Sampler {
  const bound = ratio === 1 ? 0x1_0000_0000 : Math.floor(ratio * 0xffff_ffff)
  return (traceId) => {
    let folded = 0
    for (let at = 0; at < 32; at += 8) folded = (folded ^ Number.parseInt(traceId.slice(at, at + 8), 16)) >>> 0
    return folded < bound
  }
}

/** Goes by what a request came with; `root` decides where that leaves it open. */
function parentBased(root: Sampler): Sampler {
  return (traceId, parent) => parent ?? root(traceId, undefined)
}

const ROOTS: Readonly<Record<string, (part: number) => Sampler>> = {
  always_on: () => ALL,
  always_off: () => NONE,
  traceidratio: ofTraces,
}

export const DEFAULT_SAMPLER = 'parentbased_always_on'

export interface ChosenSampler {
  readonly sampler: Sampler
  /** Of all traces that begin here, the part that is kept: over 0, and 1 at most. */
  readonly part: number
}

/**
 * @param name of `OTEL_TRACES_SAMPLER`
 * @param part of `OTEL_TRACES_SAMPLER_ARG`: from 0 to 1, 1 by default
 * @returns `undefined` for what is none of OpenTelemetry's own
 */
export function samplerOf(name: string, part = '1'): ChosenSampler | undefined {
  const root = name.replace(/^parentbased_/, '')
  const made = Object.hasOwn(ROOTS, root) ? ROOTS[root] : undefined
  const ratio = /^(?:[01]|[01]?\.\d+)$/.test(part) ? Number(part) : Number.NaN
  if (made === undefined || !(ratio <= 1)) return undefined
  const sampler = made(ratio)
  return {
    sampler: root === name ? sampler : parentBased(sampler),
    part: root === 'traceidratio' && ratio > 0 ? ratio : 1,
  }
}
