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

interface Told {
  readonly bills: readonly { readonly system: string; readonly lines: readonly { item: string; usd: number }[] }[]
  readonly prices: readonly { readonly name: string; readonly usd: number }[]
}

test('what a million requests tell, and how many of them fill a GB, is what the pages say', () => {
  const read = (page: string) => readFileSync(join(ROOT, page), 'utf8')
  const told = (args = '') => {
    const { bills, prices }: Told = JSON.parse(cost(`--requests 1000000 --json${args}`))
    const lines = bills.at(-1)?.lines.filter(({ item }) => /telemetry|log lines|spans|metrics/.test(item)) ?? []
    const usd = lines.reduce((sum, line) => sum + line.usd, 0)
    const gigabytes = usd / (prices.find(({ name }) => name === 'logGb')?.usd ?? Number.NaN)
    return { usd: usd.toFixed(2), requestsOfGigabyte: Math.round(100 / gigabytes) * 10_000 }
  }
  const [all, off] = [told(), told(' --traced 0 --metric-bytes 0')]
  expect(read('docs/deploy.md')).toContain(`${all.usd} for a million requests at most`)
  const [few, many] = [all, off].map(({ requestsOfGigabyte }) => requestsOfGigabyte.toLocaleString('en-US'))
  expect(read('docs/deploy.md')).toContain(`1 GB is some ${few} requests a day. `)
  expect(read('docs/deploy.md')).toContain(`\`TOLLGATE_APPLICATION_INSIGHTS=off\`, some ${many} |`)
  expect(read('docs/infra.md')).toContain(`[some ${few} requests](deploy.md#environments) a GB`)
  expect(read('infra/main.bicep')).toContain(`1 is some ${few} requests, or ${many} without appTelemetry.`)
})

test('a cluster is the cheaper one from about so many requests on as the page says', () => {
  const million = Number(/From about (\d+) million requests a month/.exec(page)?.[1])
  const dearer = (requests: number) => {
    const { bills }: Told = JSON.parse(cost(`--requests ${requests} --json`))
    const usd = (of: string) =>
      bills.find(({ system }) => system === of)?.lines.reduce((sum, line) => sum + line.usd, 0) ?? Number.NaN
    return usd('Tollgate') - usd('APISIX on AKS')
  }
  expect(dearer(0.9 * million * 1e6)).toBeLessThan(0)
  expect(dearer(1.1 * million * 1e6)).toBeGreaterThan(0)
})
