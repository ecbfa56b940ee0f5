import { closestName } from './closest-name.ts'

export const POLICY_FILE = 'tollgate.policy.yaml'

/** What editors and people add to the name of a copy that is not to be used. */
const COPY = /(?:~|\.(?:bak|backup|orig|old|tmp|swp|save|example|sample|template|dist|disabled|off)\d*)$/i
/** A pattern for policies, or their schema, says so before its extension as well. */
const PATTERN = /[.-](?:example|sample|template|schema)\.\w+$/i
const EXTENSION = /\.(?:ya?ml|yamls?|yalm|ymal|yml?s|json[5cl]?|toml)(?:\.txt)?\s*$|\.txt\s*$/i

/** The first of a folder's files that is thought to be the policy, and is not read as it. */
export function strayPolicy(names: readonly string[]): string | undefined {
  const hasPolicy = names.includes(POLICY_FILE)
  return names.find((name) => name !== POLICY_FILE && (meansPolicy(name) || (!hasPolicy && looksLikePolicy(name))))
}

/** Whether a file's name is the policy's but for case, punctuation, extension or a typo: `Tollgate-Policy.yml`. */
function meansPolicy(file: string): boolean {
  const stem = stemOf(file)
  const isOurs = EXTENSION.test(file) || !/\.\w{1,4}$/.test(stem)
  return (
    isOurs &&
    stem !== '' &&
    closestName(stem, ['tollgate.policy', 'tollgate.policies'], 2) !== undefined &&
    wordsOf(stem) <= 2
  )
}

/** Whether, where there is no policy, a file may be thought to be it: `policy.yaml`, `tollgate.policy.prod.yaml`. */
function looksLikePolicy(file: string): boolean {
  const stem = stemOf(file)
  if (stem === '' || !EXTENSION.test(file) || /\.txt$/i.test(file)) return false
  const [first = '', second = ''] = stem.toLowerCase().split(/[^a-z0-9]+/)
  const isPolicy = (word: string) => closestName(word, ['policy', 'policies'], 1) !== undefined
  const isTollgate = closestName(first, ['tollgate'], 2) !== undefined
  return (isPolicy(first) && second === '') || (isTollgate && (second === '' || isPolicy(second)))
}

/** Its name without extension and leading dot; empty for a copy, and for what is hidden otherwise. */
function stemOf(file: string): string {
  return COPY.test(file) || PATTERN.test(file) ? '' : file.replace(EXTENSION, '').replace(/^\./, '')
}

function wordsOf(stem: string): number {
  return stem.split(/[^A-Za-z0-9]+/).length
}
