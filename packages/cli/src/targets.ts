import { listTargets } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { utc } from './figures.ts'
import { managing } from './managing.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'

/** The targets of the policy in force, and which of them an instance does not ask now. */
export async function showTargets({ json }: { readonly json?: boolean }, place: Place): Promise<string> {
  const { output, storage } = await managing(listTargets, {}, place)
  if (json) return JSON.stringify(output)
  const { targets, resting } = output
  const all = columns([
    ['MODEL', 'TARGET', 'PRIORITY', 'WEIGHT', 'ZONE', 'INPUT', 'OUTPUT'],
    ...targets.map(({ model, target = 'by the settings', priority, weight, inZone = '', price }) => [
      onOneLine(model),
      onOneLine(target),
      String(priority),
      String(weight),
      onOneLine(inZone),
      ...(['input', 'output'] as const).map((kind) => String(price?.usdPerMillionTokens[kind] ?? 'no price')),
    ]),
  ])
  const rests =
    resting.length === 0
      ? 'Each is asked by all instances, as far as they have told within the last minute.'
      : columns([
          ['NOT ASKED', 'TIER', 'BY INSTANCE', 'BECAUSE', 'SINCE', 'UNTIL'],
          ...resting.map(({ target, tier = '', instance, state, since, until }) => [
            onOneLine(target),
            onOneLine(tier),
            onOneLine(instance),
            STATES[state],
            utc(Date.parse(since)),
            utc(Date.parse(until)),
          ]),
        ])
  return [all, 'US dollars per million tokens.', rests, `Storage: ${storage}`].join('\n\n')
}

const STATES = { blocked: 'its service said when to come back', open: 'it failed again and again' } as const
