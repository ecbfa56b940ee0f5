import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { ROOT } from '../support/host.ts'

/*
 * What the pages on deployment show, against what is there. Azure's own tools are not run.
 */

const PAGES = [
  'docs/deploy.md',
  'docs/front.md',
  'docs/portable.md',
  'docs/cost.md',
  'docs/observability.md',
  'docs/queries.md',
  'docs/telemetry.md',
]
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const blocks = (page: string, language: string) =>
  [...read(page).matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, text = '']) => text)
const names = (text: string, pattern: RegExp) => new Set([...text.matchAll(pattern)].map(([, name = '']) => name))

const { scripts, main, version } = JSON.parse(read('package.json'))
const template = read('infra/main.bicep')
const parameters = names(template, /^param (\w+)/gm)
const outputs = names(template, /^output (\w+)/gm)

/** A heading's anchor, as GitHub makes it. */
function slug(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}

test.each([...PAGES, 'docs/infra.md'])('the links of %s lead somewhere', (page) => {
  const prose = read(page).replace(/^```[\s\S]*?^```$/gm, '')
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
  for (const link of links.filter((link) => !link.startsWith('https:'))) {
    const [path = '', anchor] = link.split('#')
    const file = path === '' ? page : posix.join(dirname(page), path)
    expect([link, existsSync(join(ROOT, file))]).toEqual([link, true])
    if (anchor === undefined) continue
    const headings = [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => slug(heading))
    expect([link, headings.includes(anchor)]).toEqual([link, true])
  }
})

test.each([...PAGES, 'azure.yaml', 'examples/github-actions/deploy.yml', 'examples/portable/Dockerfile'])(
  'the scripts that %s names exist',
  (file) => {
    const named = names(read(file), /npm run (?:--silent )?([\w:]+)/g)
    for (const name of named) expect([name, typeof scripts[name]]).toEqual([name, 'string'])
  },
)

test('the parameters and outputs of the page are those of the template', () => {
  const page = read('docs/deploy.md')
  const [, table = ''] = /\| parameter \| why \|\n\|---\|---\|\n((?:\|.*\n)+)/.exec(page) ?? []
  const named = [
    ...names(table, /`(\w+)(?:: [^`]+)?`/g),
    ...names(blocks('docs/deploy.md', 'bicep').join('\n'), /^param (\w+)/gm),
    ...['logDailyCapGb', 'alwaysReadyInstances', 'redis', 'privateNetwork', 'siteUpdateStrategy', 'policyPath'],
    ...['cacheSecret', 'openAiApiKey', 'policyVariables'],
  ]
  expect(named.filter((name) => !parameters.has(name))).toEqual([])
  expect([...names(page, /\bout (\w+)\)/g)].filter((name) => !outputs.has(name))).toEqual([])
  for (const name of names(read('infra/main.bicepparam'), /^(?!\/\/).*readEnvironmentVariable\('(\w+)'/gm))
    expect(page).toContain(name)
  expect(template).toMatch(
    /@allowed\(\[\s+'Recreate'\s+'RollingUpdate'\s+\]\)\nparam siteUpdateStrategy string = 'Recreate'/,
  )
})

test.each(['README.md', ...PAGES])(
  'what %s publishes by Core Tools names the language, which no file tells',
  (page) => {
    const commands =
      blocks(page, 'sh')
        .join('\n')
        .match(/^.*func azure functionapp publish.*$/gm) ?? []
    for (const command of commands) expect(command).toMatch(/ --javascript$/)
    if (page === 'docs/deploy.md') expect(commands.length).toBeGreaterThanOrEqual(3)
  },
)

test('the commands for Azure name one group and one deployment, which are set in one place', () => {
  const commands = [...PAGES, 'docs/infra.md'].flatMap((page) => blocks(page, 'sh')).join('\n')
  expect([...names(commands, /--resource-group (\S+)/g)]).toEqual(['$GROUP'])
  expect([...commands.matchAll(/^ *(GROUP|DEPLOYMENT)=/gm)].map(([, name]) => name)).toEqual(['GROUP', 'DEPLOYMENT'])
  for (const command of commands.match(/az deployment group (?:create|show)\b.*/g) ?? [])
    expect(command).toContain('--name $DEPLOYMENT')
})

test('the queries ask for fields that a request’s line has', () => {
  const queries = blocks('docs/queries.md', 'kusto')
  expect(queries.length).toBeGreaterThan(4)
  // What is told of a request, what the trace adds of its outcome, and what is told of a failed call.
  const files = ['pipeline/facts.ts', 'telemetry/trace.ts', 'pipeline/refusal.ts', 'upstream/failure.ts']
  const types = files.map((file) => read(`packages/middleware/src/${file}`))
  const fields = names(types.join('\n'), /^ {2}(?:readonly )?(\w+)\??:/gm)
  for (const field of names(queries.join('\n'), /\bline\.(\w+)/g)) {
    expect([field, fields.has(field) || ['event', 'requestId', 'status', 'ms'].includes(field)]).toEqual([field, true])
  }
})

test('azd is given a folder in which there is nothing to leave out, to install or to build', () => {
  const { services, hooks } = parse(read('azure.yaml'))
  expect(services.api).toEqual({ project: '.package/app', language: 'js', host: 'function', remoteBuild: false })
  for (const hook of ['prepackage', 'predeploy']) {
    expect([hooks[hook].posix.run, hooks[hook].windows.run]).toEqual(['npm run stage', 'npm run stage'])
  }
  execFileSync(process.execPath, [join(ROOT, 'packages/workshop/src/stage.ts')])
  const folder = join(ROOT, services.api.project)
  const staged = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => file.replaceAll('\\', '/'))
  const wanted = read('.funcignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1))
  for (const file of wanted.filter((name) => existsSync(join(ROOT, name)))) expect(staged).toContain(file)
  expect(staged.filter((file) => !wanted.includes(file) && file !== 'dist')).toEqual([])
  expect(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))).toEqual({
    name: 'tollgate',
    version,
    private: true,
    main,
  })
})

test('the workflow deploys the package that was tested, without a secret', () => {
  const text = read('examples/github-actions/deploy.yml')
  const { permissions, jobs } = parse(text)
  expect(permissions).toEqual({ contents: 'read' })
  expect(jobs.deploy.permissions).toEqual({ 'id-token': 'write' })
  expect(jobs.deploy.needs).toBe('build')
  expect(text).not.toMatch(/secrets\./)
  const used = (name: string) =>
    [...jobs.build.steps, ...jobs.deploy.steps].find(({ uses }: { uses?: string }) => uses?.startsWith(`${name}@`))
      ?.with
  const artifact = used('actions/upload-artifact')
  expect(read('packages/workshop/src/package.ts')).toContain(`'${artifact.path}'`)
  // Its folder is a hidden one, which else is left out.
  expect(artifact['include-hidden-files']).toBe(true)
  expect(used('Azure/functions-action')).toMatchObject({
    package: 'tollgate.zip',
    sku: 'flexconsumption',
    'remote-build': false,
  })
  const variables = names(text, /vars\.(\w+)/g)
  for (const name of variables) expect(read('docs/deploy.md')).toContain(`\`${name}\``)
})

test('the routes for APISIX are YAML, of the kinds that it takes, and limit by the second', () => {
  const [resources = '', plugins = ''] = blocks('docs/front.md', 'yaml')
  const documents = parseAllDocuments(resources)
  expect(documents.flatMap(({ errors }) => errors)).toEqual([])
  const [upstream, route] = documents.map((document) => document.toJS())
  expect([upstream.kind, route.kind]).toEqual(['ApisixUpstream', 'ApisixRoute'])
  expect(upstream.spec).toMatchObject({ scheme: 'https', passHost: 'node', retries: 0 })
  const [rule] = route.spec.http
  expect(rule.upstreams).toEqual([{ name: upstream.metadata.name }])
  for (const timeout of [upstream.spec.timeout, rule.timeout])
    expect(Number.parseInt(timeout.read, 10)).toBeGreaterThanOrEqual(230)
  const all: { name: string; config: Record<string, unknown> }[] = [...rule.plugins, ...parse(plugins)]
  expect(all.map(({ name }) => name)).not.toContain('proxy-cache')
  const limits = all.filter(({ name }) => name === 'limit-req').map(({ config }) => config)
  expect(limits.map(({ nodelay, rejected_code, key_type }) => [nodelay, rejected_code, key_type])).toEqual([
    [true, 429, 'var'],
    [true, 429, 'var'],
  ])
  expect(Number(limits[1]?.rate) * 60).toBeCloseTo(10, 1)
})

test('the policy for API Management is XML whose elements close, and lets streams through', () => {
  const [policy = ''] = blocks('docs/front.md', 'xml')
  const open: string[] = []
  for (const [, end, name = '', empty] of policy
    .replace(/<!--.*?-->/g, '')
    .matchAll(/<(\/?)([\w-]+)(?:\s+[\w-]+="[^"]*")*\s*(\/?)>/g)) {
    if (empty) continue
    if (end) expect(open.pop()).toBe(name)
    else open.push(name)
  }
  expect(open).toEqual([])
  expect(policy).toContain('buffer-response="false"')
})
