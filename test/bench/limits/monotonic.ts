/**
 * Milliseconds on the one clock that all processes of this machine share: `hrtime` reads CLOCK_MONOTONIC on Linux, and
 * the system-wide counter on macOS and Windows. (`performance.now` counts from each process's own start.)
 */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
