import { machine } from '../machine.ts'
import { percent, type Section } from '../workbench/section.ts'
import { bars, sectionText } from '../workbench/section-text.ts'
import { notPinned } from './cores.ts'

/**
 * The page of a run.
 *
 * @param others the share of the processors that other processes took meanwhile
 */
export function page(sections: readonly Section[], others: number | undefined): string {
  const alone = others === undefined ? '' : ` Other processes took ${percent(others)} of its processors meanwhile.`
  return [
    '# What a request costs, beside the least that it could',
    '',
    '`npm run bench:gateway` measures and writes this page (about half an hour); `-- --against <folder>` measures another',
    'checkout in the same run. Machines differ, and are noisy: compare ratios, and rows of one run. A machine that has other',
    'work to do makes the cheap rows dearer than the others.',
    '',
    ...bars(sections.flatMap(({ bars }) => bars)),
    ...sections.flatMap(sectionText),
    `Measured on ${machine()}${notPinned === undefined ? '' : `; no processor was set apart, since ${notPinned}`}.${alone}`,
    '',
  ].join('\n')
}
