import type { TransformRule } from '../policy/index.ts'

/**
 * Says which transforms a rule applies, and in which version, such as `eol.1,json.1,dup.1:chunk+document`: two prompts
 * that went through different ones are not the same question. '' for none.
 *
 * A transform that makes something else of any text than it did gets another number.
 */
export function transformLabel({ lineEndings, minifyJson, dropDuplicates }: TransformRule): string {
  return [
    lineEndings ? 'eol.1' : '',
    minifyJson ? 'json.1' : '',
    dropDuplicates.length > 0 ? `dup.1:${dropDuplicates.join('+')}` : '',
  ]
    .filter((label) => label !== '')
    .join(',')
}
