import type { TokenUsage } from '@tollgate/middleware'

/** As much of a request's log line as tells what it took and what the cache spared it. */
export interface RequestLine {
  readonly event: string
  readonly cache?: string
  readonly usage?: TokenUsage
  readonly costNanoUsd?: number
  readonly spared?: TokenUsage
  readonly sparedNanoUsd?: number
  readonly status: number
}

/** The lines that a gateway wrote at the end of its requests, out of all that its host has printed. */
export function requestLines(output: string): RequestLine[] {
  return output
    .split('\n')
    .filter((line) => line.includes('"event":"request"'))
    .map((line) => JSON.parse(line.slice(line.indexOf('{'))) as RequestLine)
}

/** The sum of one figure over lines that may lack it. */
export function sumOf(lines: readonly RequestLine[], figure: (line: RequestLine) => number | undefined): number {
  return lines.reduce((sum, line) => sum + (figure(line) ?? 0), 0)
}
