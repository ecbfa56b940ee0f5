import type { Bar, Section as Measured } from '../limits/section.ts'

export { atMost, type Bar, num, percent, type Table } from '../limits/section.ts'

/** A part of the page. */
export interface Section extends Omit<Measured, 'compared'> {
  /** What must hold on any machine, however slow: the run fails where it doesn't. */
  readonly must: readonly Bar[]
}

/** A figure that must be just this. */
export function exactly(what: string, figure: number, expected: number): Bar {
  const whole = (value: number) => value.toLocaleString('en')
  return { what, bar: `= ${whole(expected)}`, figure: whole(figure), met: figure === expected }
}
