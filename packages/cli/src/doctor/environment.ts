import { readFileSync } from 'node:fs'
import { OperatorError } from '@tollgate/middleware'

/** The settings that are looked at. */
export interface Examined {
  /** The app's folder, where the policy and host.json lie. */
  readonly root: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether they are a deployed app's, read from a file: its platform and its identity are not those of this machine. */
  readonly isExported: boolean
  /** Settings whose values are in Key Vault, and are not seen from here. */
  readonly unseen: readonly string[]
}

/** A value that stands for one that isn't seen: of such a setting only that it is there is known. */
export const UNSEEN = 'held-in-key-vault'

/**
 * The settings of a file: what `az functionapp config appsettings list` prints, `{"NAME": "value"}`, or a local.settings.json.
 *
 * @throws OperatorError, which repeats nothing of the file
 */
export function readExported(file: string, root: string): Examined {
  const env: Record<string, string> = {}
  const unseen: string[] = []
  for (const [name, value] of entriesOf(parsed(file))) {
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
      if (value === null) continue
      throw new OperatorError(`--settings: ${name} is no text.`)
    }
    const text = String(value)
    if (text.startsWith('@Microsoft.KeyVault(')) unseen.push(name)
    else env[name] = text
  }
  // Of these the app only needs to know that they are there.
  for (const name of unseen) if (/_KEY$|_SECRET$/.test(name)) env[name] = UNSEEN
  return { root, env, isExported: true, unseen }
}

function parsed(file: string): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new OperatorError(`--settings: the file can't be read (${(error as NodeJS.ErrnoException).code}).`)
  }
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    throw new OperatorError(
      '--settings: the file is no JSON. Make it by: az functionapp config appsettings list -g <group> -n <app> > settings.json',
    )
  }
}

function entriesOf(value: unknown): readonly (readonly [name: string, value: unknown])[] {
  if (Array.isArray(value)) {
    return value.map((each) => {
      const { name, value: of } = (each ?? {}) as { readonly name?: unknown; readonly value?: unknown }
      if (typeof name !== 'string') throw new OperatorError('--settings: an entry of the list has no name.')
      return [name, of] as const
    })
  }
  if (typeof value !== 'object' || value === null) throw new OperatorError('--settings: the file holds no settings.')
  const { Values } = value as { readonly Values?: unknown }
  return Object.entries(typeof Values === 'object' && Values !== null ? Values : value)
}
