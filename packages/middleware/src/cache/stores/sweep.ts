/** A store in which what has expired stays until somebody removes it. */
export interface Sweepable {
  /**
   * Removes what expired more than a minute ago. Any number of instances may sweep at the same time.
   *
   * @param now milliseconds since 1970
   * @param signal ends the sweep early: what was removed by then is told, and the next sweep goes on.
   * @throws what the store throws, but for its answer to the signal.
   */
  sweep(now: number, signal: AbortSignal): Promise<{ readonly removed: number }>
}
