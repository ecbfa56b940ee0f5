import { machine } from '../machine.ts'
import { bars, sectionText } from '../workbench/section-text.ts'
import type { Section } from './section.ts'

/** The page of a run. */
export function page(
  sections: readonly Section[],
  chart: { readonly file: string; readonly alt: string } | undefined,
): string {
  return [
    '# How exact the limits are, and what they cost',
    '',
    '`npm run bench:limits` measures and writes this page (about half an hour). It drives the limiter itself, in up to 8',
    'processes over one Azurite and one Redis. Machines differ, and are noisy: compare rows, not pages.',
    '',
    ...(chart === undefined ? [] : [`![${chart.alt}](${chart.file})`, '']),
    ...bars(sections.flatMap(({ bars }) => bars)),
    ...sections.flatMap(sectionText),
    `Measured on ${machine()}, limiters, stores and load generators together.`,
    '',
  ].join('\n')
}
