import {
  type AzureSettings,
  azureUrl,
  isAzureAiHost,
  isAzureForm,
  isDated,
  isLoopback,
  ModelUrlFault,
  meansV1,
  type OpenAISettings,
  openaiUrl,
} from '@tollgate/middleware'
import { SettingsError } from './settings-error.ts'

/** The `OPENAI_*` settings as they stand in the environment; an empty one is one that is not set. */
export interface ModelSettings {
  readonly endpoint: string | undefined
  readonly baseUrl: string | undefined
  readonly key: string | undefined
  readonly apiVersion: string | undefined
  readonly model: string | undefined
}

/**
 * The target of the `OPENAI_*` settings; `undefined` where no model is configured. What a URL names beside the endpoint, a
 * deployment and a version of the API, counts where no setting of its own says otherwise.
 *
 * @throws SettingsError for a URL that no model is served under
 */
export function defaultTarget({
  endpoint,
  baseUrl,
  ...settings
}: ModelSettings): AzureSettings | OpenAISettings | undefined {
  const { key, apiVersion: version, model } = settings
  for (const [name, value] of Object.entries({ OPENAI_API_KEY: key, OPENAI_MODEL_NAME: model })) {
    // What shells take away, files of variables hand on.
    if (/^(["']).*\1$/s.test(value ?? '')) throw new SettingsError(`${name} stands in quotes. Leave them out.`)
  }
  if (key && !isHeaderText(key)) {
    throw new SettingsError(
      'OPENAI_API_KEY holds a line break or another character that no key has. Copy it anew, on one line.',
    )
  }
  if (endpoint && baseUrl) {
    throw new SettingsError(
      'OPENAI_ENDPOINT (Azure) and OPENAI_BASE_URL (any other server) are both set. Unset the one that is not meant.',
    )
  }
  if (endpoint) return azure('OPENAI_ENDPOINT', parsed('OPENAI_ENDPOINT', endpoint))
  if (baseUrl) {
    const url = parsed('OPENAI_BASE_URL', baseUrl)
    if (isAzureForm(url)) return azure('OPENAI_BASE_URL', url)
    return {
      kind: 'openai',
      baseUrl: textOf(read('OPENAI_BASE_URL', () => openaiUrl(url))),
      model: model || DEFAULT,
      key: key || undefined,
    }
  }
  return !key ? undefined : { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: model || DEFAULT, key }

  function azure(setting: string, url: URL): AzureSettings {
    const { endpoint, deployment, apiVersion } = read(setting, () => azureUrl(url))
    if (version && !meansV1(version) && !isDated(version)) {
      throw new SettingsError(
        'OPENAI_API_VERSION is no date, such as 2024-10-21. Correct it, or unset it for /openai/v1/.',
      )
    }
    if (!key && !isAzureAiHost(url)) {
      throw new SettingsError(`${setting} is no Azure AI host, so no Entra token is sent to it. Set OPENAI_API_KEY.`)
    }
    return {
      kind: 'azure',
      endpoint: textOf(endpoint),
      model: model || (deployment ?? DEFAULT),
      apiVersion: version ? (meansV1(version) ? undefined : version) : apiVersion,
      key: key || undefined,
    }
  }
}

const DEFAULT = 'gpt-4'

function parsed(setting: string, text: string): URL {
  const url = URL.parse(text)
  if (url === null) throw new SettingsError(`${setting} is not a URL. Write it whole, with https:// in front.`)
  if (url.username !== '' || url.password !== '') {
    throw new SettingsError(`${setting} must not hold a password. Use OPENAI_API_KEY.`)
  }
  if (url.protocol !== 'https:' && !isLoopback(url)) throw new SettingsError(`${setting} must begin with https://.`)
  return url
}

function read<T>(setting: string, reading: () => T): T {
  try {
    return reading()
  } catch (fault) {
    throw fault instanceof ModelUrlFault ? new SettingsError(`${setting} ${fault.message}`) : fault
  }
}

function textOf({ href }: URL): string {
  return href.replace(/\/+$/, '')
}

/** Whether a header can hold it: blanks at its ends are taken off there, and all else must be visible ASCII. */
function isHeaderText(text: string): boolean {
  return /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(text.trim())
}
