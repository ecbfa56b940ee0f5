import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** The physical memory that a process has now, in bytes. */
export function residentBytes(pid: number): number {
  const status = `/proc/${pid}/status`
  if (existsSync(status)) return kibibytes(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))?.[1])
  return kibibytes(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' }).trim())
}

function kibibytes(text: string | undefined): number {
  return Number(text) * 1024
}

/** The most that it has had while some work lasted, looked at each 20 ms. */
export async function peakDuring(pid: number, work: () => Promise<unknown>): Promise<number> {
  let peak = residentBytes(pid)
  const look = setInterval(() => {
    peak = Math.max(peak, residentBytes(pid))
  }, 20)
  try {
    await work()
  } finally {
    clearInterval(look)
  }
  return peak
}
