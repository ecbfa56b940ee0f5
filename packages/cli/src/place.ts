/** Where a command works: the app's folder and its settings. */
export interface Place {
  readonly root: string
  readonly env: NodeJS.ProcessEnv
  /** `--url`: of a gateway that is managed instead of the tables. */
  readonly url?: string | undefined
}
