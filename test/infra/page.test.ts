import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'
import { type Declaration, of, readTemplate } from './template.ts'

const page = readFileSync(join(ROOT, 'docs/infra.md'), 'utf8')
const main = readTemplate('infra/main.bicep')

/** A parameter as the page's table has it. */
function row({ name, node, decorators }: Declaration): string {
  const allowed = [...(decorators.get('allowed') ?? '').matchAll(/[\w.]+/g)].map(([value]) => `\`${value}\``)
  const description = decorators.get('description') ?? ''
  const choice = allowed.length === 0 ? '' : ` One of ${allowed.join(', ')}.`
  return `| \`${name}\` | ${defaultOf(node.namedChildren[2]?.text)} | ${description}${choice} |`
}

function defaultOf(text: string | undefined): string {
  if (text === undefined) return 'must be set'
  if (text === "''") return 'empty'
  return text.includes('\n') ? 'see `main.bicep`' : `\`${text.replaceAll("'", '')}\``
}

test('the table of parameters is what main.bicep says', () => {
  const rows = page.split('## Parameters')[1]?.match(/^\| `.*$/gm) ?? []
  expect(rows).toEqual(of(main, 'param').map(row))
})

test('the table of outputs is what main.bicep says', () => {
  const rows =
    page
      .split('## Outputs')[1]
      ?.split('\n## ')[0]
      ?.match(/^\| `.*$/gm) ?? []
  expect(rows).toEqual(
    of(main, 'output').map(({ name, decorators }) => `| \`${name}\` | ${decorators.get('description')} |`),
  )
})

test('every role is on the page', () => {
  const roles = readTemplate('infra/modules/roles.bicep').text.match(/[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/g) ?? []
  expect(roles.length).toBeGreaterThan(0)
  for (const id of roles) expect(page).toContain(id)
})

test('the page says what nobody has tried', () => {
  expect(page).toContain('compiled and linted by CI, checked by parser and structure, and have not been deployed yet')
})
