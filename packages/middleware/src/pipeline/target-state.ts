/** A target that is not asked for a while. One that is not told of may be asked. */
export interface TargetState {
  /** The target's id. */
  readonly target: string
  /** The service tier that has no room; left out where nothing is asked there. */
  readonly tier?: string
  /** `blocked`: its service said when to come back. `open`: it failed again and again. */
  readonly state: 'blocked' | 'open'
  /** Milliseconds since 1970: since when, and until when. */
  readonly since: number
  readonly until: number
}
