import { machine } from '../machine.ts'
import type { Section } from '../workbench/section.ts'
import { bars, sectionText } from '../workbench/section-text.ts'

/** The page of a run. */
export function page(
  sections: readonly Section[],
  chart: { readonly file: string; readonly alt: string } | undefined,
): string {
  return [
    '# What the completion cache costs, and what it spares',
    '',
    '`npm run bench:cache` measures and writes this page (about twenty minutes). It drives whole gateways, each in a process',
    'of its own, by HTTP. Machines differ, and are noisy: compare rows, not pages.',
    '',
    ...(chart === undefined ? [] : [`![${chart.alt}](${chart.file})`, '']),
    ...bars(sections.flatMap(({ bars, must }) => [...bars, ...must])),
    ...sections.flatMap(sectionText),
    `Measured on ${machine()}, gateways, stores, model and load together.`,
    '',
  ].join('\n')
}
