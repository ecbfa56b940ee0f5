/** Where a command works: the app's folder and its settings. */
export interface Place {
  readonly root: string
  readonly env: NodeJS.ProcessEnv
}
