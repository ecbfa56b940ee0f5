import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'

const page = readFileSync(join(ROOT, 'docs/cost.md'), 'utf8')
const shown = [...page.matchAll(/^```sh\nnpm run cost -- (.+)\n```\n\n```\n([\s\S]*?)\n```$/gm)].map(
  ([, args = '', output = '']) => [args, output] as const,
)
const cost = (args: string) =>
  execFileSync(process.execPath, [join(ROOT, 'packages/cli/src/cost/cost.ts'), ...args.split(' ')], {
    encoding: 'utf8',
  })

test('the page shows what each of its commands prints', () => {
  expect(shown.length).toBe(page.match(/^npm run cost/gm)?.length)
  for (const [args, output] of shown) expect([args, cost(args).trimEnd()]).toEqual([args, output])
})

test('what the texts say of the first table is in it', () => {
  const bills: { system: string; lines: { payee: string; item: string; usd: number }[] }[] = JSON.parse(
    cost('--json'),
  ).bills
  const amount = (system: string, payee: string) =>
    bills
      .find((bill) => bill.system === system)
      ?.lines.filter((line) => line.payee === payee)
      .reduce((sum, { usd }) => sum + usd, 0) ?? Number.NaN
  const spared = (payee: string) => (amount('bare function', payee) - amount('Tollgate', payee)).toFixed(2)
  expect(page).toContain(`Tollgate costs ${amount('Tollgate', 'gateway').toFixed(2)} a month`)
  expect(page).toContain(`spares ${spared('model')} of tokens and ${spared('function')} of the function's time`)
  const tables = bills.at(-1)?.lines.filter(({ item }) => item.startsWith('tables:')) ?? []
  const calls = tables.reduce((sum, { usd }) => sum + usd, 0).toFixed(2)
  const deploy = readFileSync(join(ROOT, 'docs/deploy.md'), 'utf8')
  expect(deploy).toContain(`${calls} for the tables' calls of a million requests`)
  const idle: number = JSON.parse(cost('--json --requests 0')).bills.at(-1).usd
  expect(deploy).toContain(`and their telemetry, ${idle.toFixed(2)} in all`)
})
