import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { closestName, OperatorError } from '@tollgate/middleware'
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
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return { overridden: [], port: undefined, cors: undefined }
    if (code === undefined) throw error
    throw new LocalSettingsError(
      `local.settings.json can't be read (${code}). See that it is a file that you may read.`,
    )
  }
  const { IsEncrypted, Values, Host } = checked(parse(text))
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

function parse(text: string): unknown {
  try {
    // Editors on Windows like to begin a file with a byte order mark.
    return JSON.parse(plainJson(text.replace(/^\uFEFF/, '')))
  } catch {
    throw new LocalSettingsError('local.settings.json is not valid JSON.')
  }
}

/** Core Tools take comments, and a comma behind the last value, in this file. */
function plainJson(text: string): string {
  return text
    .replace(/("(?:\\.|[^"\\])*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (_, quoted) => quoted ?? ' ')
    .replace(/("(?:\\.|[^"\\])*")|,(?=\s*[}\]])/g, (_, quoted) => quoted ?? '')
}

const PARTS = ['IsEncrypted', 'Values', 'Host', 'ConnectionStrings']

/** @throws LocalSettingsError for what would be passed over: a setting outside of `Values`, or one that is no text. */
function checked(file: unknown): LocalSettingsFile {
  if (!isMap(file)) throw new LocalSettingsError('local.settings.json must be a JSON object: {"Values": {…}}.')
  for (const part of Object.keys(file).filter((name) => !PARTS.includes(name))) {
    const meant = closestName(part, PARTS, 2)
    if (meant !== undefined)
      throw new LocalSettingsError(`local.settings.json: '${part}' is no part of it. Did you mean ${meant}?`)
    if (/^(?:TOLLGATE_|OPENAI_|AzureWebJobs)/i.test(part)) {
      throw new LocalSettingsError(
        `local.settings.json: ${part} stands outside of Values, where nothing reads it. Move it there.`,
      )
    }
  }
  const { Values, Host } = file
  if (Values !== undefined && !isMap(Values))
    throw new LocalSettingsError('local.settings.json: Values must be an object of names and texts.')
  if (Host !== undefined && !isMap(Host))
    throw new LocalSettingsError('local.settings.json: Host must be an object, such as {"LocalHttpPort": 7071}.')
  for (const [name, value] of Object.entries(Values ?? {})) {
    if (typeof value === 'object')
      throw new LocalSettingsError(`local.settings.json: Values.${name} must be a text, in quotes.`)
  }
  const { LocalHttpPort, CORS } = Host ?? {}
  if (LocalHttpPort !== undefined && !isPort(LocalHttpPort)) {
    throw new LocalSettingsError(
      'local.settings.json: Host.LocalHttpPort must be a number from 0 to 65535, without quotes.',
    )
  }
  if (CORS !== undefined && typeof CORS !== 'string') {
    throw new LocalSettingsError('local.settings.json: Host.CORS must be a text: origins separated by commas, or *.')
  }
  return file
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65_535
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
