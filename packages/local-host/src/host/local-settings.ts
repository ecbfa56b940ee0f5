import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface LocalSettings {
  /** Names that local.settings.json gives and the environment already has: the environment wins, as in Core Tools. */
  readonly overridden: readonly string[]
  readonly port: number | undefined
  /** Set, but not served by this host. */
  readonly cors: boolean
}

/**
 * Puts the values of local.settings.json into the environment where they are not set already.
 *
 * @throws when the file is no JSON, or its values are encrypted.
 */
export function applyLocalSettings(root: string, env: NodeJS.ProcessEnv): LocalSettings {
  let text: string
  try {
    text = readFileSync(join(root, 'local.settings.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { overridden: [], port: undefined, cors: false }
    throw error
  }
  const { IsEncrypted, Values, Host } = JSON.parse(text) as {
    IsEncrypted?: boolean
    Values?: Record<string, string>
    Host?: { LocalHttpPort?: number; CORS?: string }
  }
  if (IsEncrypted) throw new Error('local.settings.json is encrypted. Run func settings decrypt first.')
  const overridden: string[] = []
  for (const [name, value] of Object.entries(Values ?? {})) {
    if (env[name] === undefined) env[name] = String(value)
    else if (env[name] !== String(value)) overridden.push(name)
  }
  return { overridden, port: Host?.LocalHttpPort, cors: Host?.CORS !== undefined }
}
