/** The SDK's own code for a request that met no server, and the system's for why. */
const UNREACHABLE = /REQUEST_SEND_ERROR|ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE/

/** What the identity library throws where no credential works; its text lists all that it tried. */
const NO_CREDENTIAL = /^(?:Aggregate)?AuthenticationError$|^CredentialUnavailableError$/

/** What the system says of a file or folder, and what mends it. */
const FILE_FAULTS: Readonly<Record<string, string>> = {
  EACCES: 'Give yourself the right to read and write it.',
  EPERM: 'Give yourself the right to read and write it.',
  EISDIR: 'A folder stands in the place of a file. Remove it.',
  ENOTDIR: 'A file stands in the place of a folder. Remove it.',
  ENOENT: 'It is missing. Restore it.',
  ENOSPC: 'The disk is full. Make room on it.',
  EROFS: 'The disk can only be read. Choose another folder, by TOLLGATE_LOCAL_DATA.',
  EMFILE: 'Too many files are open. Raise the limit (ulimit -n).',
  ELOOP: 'It is a link that leads back to itself. Remove it.',
}

/** What a person is told of a fault that ends a command: a sentence with its fix; a stack only where it is a fault of ours. */
export function faultText(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { operatorMessage, statusCode, code } = error as Error & {
    operatorMessage?: string
    statusCode?: number
    code?: string
  }
  if (operatorMessage !== undefined) return operatorMessage
  if (NO_CREDENTIAL.test(error.name)) {
    return (
      'The storage asks who you are, and no credential was found. Sign in with `az login`, as somebody with the role Storage ' +
      'Table Data Contributor on it.'
    )
  }
  // An answer of the storage service; its text repeats names, never secrets.
  if (statusCode !== undefined) return `The storage could not be used (HTTP ${statusCode}): ${error.message}`
  if (typeof code !== 'string') return error.stack ?? error.message
  if (UNREACHABLE.test(`${code} ${error.message}`)) {
    return (
      `The storage could not be reached: ${error.message}. See that it runs, and that TOLLGATE_STORAGE (or ` +
      'AzureWebJobsStorage) names it; with neither, the tables of npm start are used.'
    )
  }
  const fix = FILE_FAULTS[code]
  return fix === undefined ? (error.stack ?? error.message) : `${error.message}. ${fix}`
}
