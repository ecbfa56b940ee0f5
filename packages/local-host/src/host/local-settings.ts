import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { OperatorError } from '@tollgate/middleware'
import type { Cors } from './cors.ts'

export interface LocalSettings {
  /** Names that local.settings.json gives and the environment already has: the environment wins, as in Core Tools. */
  readonly overridden: readonly string[]
  readonly port: number | undefined
  /** `undefined` where no page of another origin may read. */
  readonly cors: Cors | undefined
}

/** A local.settings.json that can't be used. The message never quotes it, for it holds secrets. */
export class LocalSettingsError extends OperatorError {
  override readonly name = 'LocalSettingsError'
}

interface LocalSettingsFile {
  readonly IsEncrypted?: boolean
  readonly Values?: Readonly<Record<string, unknown>>
  readonly Host?: { readonly LocalHttpPort?: number; readonly CORS?: string; readonly CORSCredentials?: boolean }
}

/**
 * Puts the values of local.settings.json into the environment where they are not set already.
 *
 * @throws LocalSettingsError when the file is no JSON, or its values are encrypted.
 */
export function applyLocalSettings(root: string, env: NodeJS.ProcessEnv): LocalSettings {
  let text: string
  try {
    text = readFileSync(join(root, 'local.settings.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { overridden: [], port: undefined, cors: undefined }
    throw error
  }
  const { IsEncrypted, Values, Host } = parse(text)
  if (IsEncrypted) throw new LocalSettingsError('local.settings.json is encrypted. Run: func settings decrypt')
  const overridden: string[] = []
  for (const [name, value] of Object.entries(Values ?? {})) {
    if (env[name] === undefined) env[name] = String(value)
    else if (env[name] !== String(value)) overridden.push(name)
  }
  return { overridden, port: Host?.LocalHttpPort, cors: corsOf(Host) }
}

/** @throws LocalSettingsError for credentials from anywhere, which browsers refuse, and so does Core Tools. */
function corsOf({ CORS, CORSCredentials }: NonNullable<LocalSettingsFile['Host']> = {}): Cors | undefined {
  const origins = (CORS ?? '').split(',').flatMap((origin) => origin.trim().replace(/\/$/, '') || [])
  if (origins.length === 0) return undefined
  if (CORSCredentials && origins.includes('*')) {
    throw new LocalSettingsError(
      'local.settings.json: with Host.CORSCredentials, Host.CORS must name the origins, not *.',
    )
  }
  return { origins, credentials: CORSCredentials === true }
}

function parse(text: string): LocalSettingsFile {
  try {
    // Editors on Windows like to begin a file with a byte order mark.
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    throw new LocalSettingsError('local.settings.json is not valid JSON.')
  }
}
