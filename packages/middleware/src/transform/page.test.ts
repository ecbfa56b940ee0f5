import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { ChatMessage } from '../operations/index.ts'
import { countTokens } from '../operations/o200k-base.ts'
import { savedTokens, transform } from './index.ts'

/* docs/transforms.md shows what the transforms do, and what they save of this conversation. */

const PAGE = readFileSync(new URL('../../../../docs/transforms.md', import.meta.url), 'utf8')
const NONE = { lineEndings: false, minifyJson: false, dropDuplicates: [] as string[] }
const RULES = {
  none: NONE,
  lineEndings: { ...NONE, lineEndings: true },
  minifyJson: { ...NONE, minifyJson: true },
  dropDuplicates: { ...NONE, dropDuplicates: ['document'] },
  'all three': { lineEndings: true, minifyJson: true, dropDuplicates: ['document'] },
}

test.each(['lineEndings', 'minifyJson', 'dropDuplicates'] as const)(
  'the page’s example of %s is what it does',
  (name) => {
    const section = PAGE.split(`\n## ${name}\n`)[1]?.split('\n## ')[0] ?? ''
    const [before, after] = [...section.matchAll(/````(json|text)\n([\s\S]*?)\n````/g)].map(([, kind, text = '']) =>
      kind === 'json' ? JSON.parse(text) : text,
    )
    expect(before).toBeTypeOf('string')
    expect(transform([{ role: 'user', content: before }], RULES[name]).messages).toEqual([
      { role: 'user', content: after },
    ])
  },
)

test.each(Object.entries(RULES))('the page’s figures for %s are those of the conversation', async (name, rule) => {
  const { messages, removed } = transform(conversation(), rule)
  const before = tokensOf(conversation())
  const after = tokensOf(messages)
  const figures = PAGE.split('\n').find(
    (line) => /^\|[^|]*\| [\d,]+ \|/.test(line) && line.replaceAll('`', '').startsWith(`| ${name} |`),
  )
  const percent = (((before - after) / before) * 100).toFixed(1)
  const saving = name === 'none' ? '' : ` ${before - after} (${percent} %)`
  expect(figures?.replace(/^\|[^|]*/, '')).toBe(`| ${after.toLocaleString('en')} |${saving} |`)
  expect(await savedTokens(removed, new AbortController().signal)).toBe(before - after)
})

function tokensOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, { content }) => sum + (typeof content === 'string' ? countTokens(content) : 0), 0)
}

function conversation(): (ChatMessage & Readonly<Record<string, unknown>>)[] {
  const chunk = (id: string, title: string, body: string) =>
    `<document id="${id}" title="${title}">\n${body}\n</document>`
  const CHUNKS = {
    prime: chunk(
      'manual-12',
      'Priming',
      'Before the first start, and after the pump has stood dry, fill the housing with water up to the lower edge of the filler opening. Close the filler cap hand-tight. Open the valve on the discharge side and start the motor. The pump draws water within three minutes; if it does not, stop the motor and repeat the filling. Never let the pump run dry for longer than three minutes: the mechanical seal overheats and leaks. On suction lines longer than four metres fit a foot valve, so that the line stays full when the pump stands.',
    ),
    noise: chunk(
      'manual-31',
      'Noise',
      'A rattling noise under load points to cavitation. Check that the suction strainer is clean, that the suction lift does not exceed seven metres, and that no air enters at the unions. A steady whistle comes from worn bearings. Bearings are replaced in pairs; use grade C3. A hum without rotation means that the capacitor has failed or that the impeller is blocked. Disconnect the mains before you open the housing, and turn the shaft by hand to find out which of the two it is.',
    ),
    warranty: chunk(
      'terms-4',
      'Warranty',
      'The warranty lasts for twenty-four months from the day of delivery. It covers faults of material and manufacture. It does not cover wear parts such as seals, bearings and capacitors, damage by dry running, frost, or pumped media other than clean water up to 35 degrees Celsius. To claim it, send the serial number, the receipt and a description of the fault to the service address. Repairs are done within ten working days. Parts that were exchanged become our property.',
    ),
    seal: chunk(
      'manual-44',
      'Replacing the seal',
      'Disconnect the mains and drain the housing. Undo the six screws of the housing cover in a crosswise pattern and pull off the cover. Hold the shaft and unscrew the impeller counter-clockwise. Pull the rotating part of the seal off the shaft and press the seat out of the cover. Clean both faces with alcohol. Wet the new seal with water, never with grease, and press it in by hand until it is flush. Assemble in reverse order and prime the pump before you start it.',
    ),
  }
  const order = {
    order: '2024-118273',
    customer: { id: 5512, city: 'Graz', since: '2019-03-02' },
    items: Array.from({ length: 6 }, (_, i) => ({
      sku: `PMP-${400 + i * 7}`,
      name: ['Garden pump 4000', 'Suction hose 4 m', 'Foot valve 1"', 'Seal kit', 'Bearing set C3', 'Capacitor 16 uF'][
        i
      ],
      quantity: [1, 1, 2, 1, 1, 1][i],
      price: { amount: [189.9, 34.5, 12.0, 18.4, 22.75, 9.99][i], currency: 'EUR' },
      delivered: `2024-05-1${i}`,
      returned: false,
    })),
    warrantyUntil: '2026-05-12',
  }
  return [
    {
      role: 'system',
      content:
        'You are the support assistant of a maker of garden pumps. Answer from the documents alone, and name the id of each that you use.',
    },
    {
      role: 'user',
      content: `${CHUNKS.prime}\n\n${CHUNKS.noise}\n\n${CHUNKS.seal}\n\nMy pump rattles and loses water. What do I do?`,
    },
    {
      role: 'assistant',
      content:
        'The rattling points to cavitation: check the strainer and the unions (manual-31). The water points to the seal; it may have run dry (manual-12, manual-44).',
    },
    {
      role: 'user',
      content: `${CHUNKS.warranty}\n\n${CHUNKS.seal}\n\n${CHUNKS.prime}\n\nIs the seal covered by the warranty of order 2024-118273?`,
    },
    {
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 'c1', type: 'function', function: { name: 'order', arguments: '{"order": "2024-118273"}' } }],
    },
    { role: 'tool', tool_call_id: 'c1', content: JSON.stringify(order, null, 2) },
  ]
}
