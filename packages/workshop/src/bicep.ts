/*
 * `npm run bicep`: brings the compiler of infra/ from NuGet, by the .NET SDK's own client and into its own folder of
 * packages, so that `npm test` compiles the templates. Where that can't be done it says why, and is no failure: the
 * tests then go without the compiler.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'

const PACKAGE = 'Azure.Bicep.CommandLine.linux-x64'
export const BICEP_VERSION = '0.49.2'
/** Of the executable in the package. */
const SHA256 = '0ab9de90c2493f206f8281bae74f9ee2d5ed3605548dab1adf41fef185e1f7c5'
const PACKAGES = process.env.NUGET_PACKAGES ?? join(homedir(), '.nuget/packages')
const EXECUTABLE = join(PACKAGES, PACKAGE.toLowerCase(), BICEP_VERSION, 'tools/bicep')
const FETCH_LIMIT_MS = 60_000
const VERSION_LIMIT_MS = 20_000

/** Only downloads, so that it needs neither a framework's packages nor anything that the SDK doesn't have. */
const PROJECT = `<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <TargetFramework>netstandard2.0</TargetFramework>
    <DisableImplicitFrameworkReferences>true</DisableImplicitFrameworkReferences>
  </PropertyGroup>
  <ItemGroup>
    <PackageDownload Include="${PACKAGE}" Version="[${BICEP_VERSION}]" />
  </ItemGroup>
</Project>
`

/** A compiler that runs, or the reason why there is none. */
export type Found = { readonly path: string } | { readonly reason: string }

/** The pinned compiler, if it was fetched; else the one on the PATH. */
export function findBicep(): Found {
  if (existsSync(EXECUTABLE)) {
    const hash = createHash('sha256').update(readFileSync(EXECUTABLE)).digest('hex')
    if (hash !== SHA256)
      return {
        reason: `${EXECUTABLE} is not that of ${PACKAGE} ${BICEP_VERSION}: delete its folder, and fetch it again`,
      }
    const { status, stderr } = versionOf(EXECUTABLE)
    if (status === 0) return { path: EXECUTABLE }
    return { reason: `bicep ${BICEP_VERSION} does not run here: ${errorLine('', stderr)}` }
  }
  if (versionOf('bicep').status === 0) return { path: 'bicep' }
  return { reason: 'bicep is not on the PATH, and was not fetched (`npm run bicep`)' }
}

/** @returns why there is still none, or nothing */
function fetchBicep(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `${PACKAGE} is for Linux on x64: install Bicep ${BICEP_VERSION} and put it on the PATH`
  }
  const folder = mkdtempSync(join(tmpdir(), 'bicep-'))
  try {
    writeFileSync(join(folder, 'bicep.csproj'), PROJECT)
    const { status, error, stdout, stderr } = spawnSync('dotnet', ['restore', `-p:RestorePackagesPath=${PACKAGES}`], {
      cwd: folder,
      encoding: 'utf8',
      timeout: FETCH_LIMIT_MS,
      env: { ...process.env, DOTNET_CLI_TELEMETRY_OPTOUT: '1', DOTNET_NOLOGO: '1' },
    })
    if (error !== undefined && 'code' in error && error.code === 'ENOENT') return 'the .NET SDK is not on the PATH'
    if (error !== undefined) return `dotnet restore was given up after ${FETCH_LIMIT_MS / 1000} s: ${error.message}`
    if (status !== 0) return `dotnet restore failed: ${errorLine(stdout, stderr)}`
    if (!existsSync(EXECUTABLE)) return `${PACKAGE} ${BICEP_VERSION} holds no tools/bicep`
    chmodSync(EXECUTABLE, 0o755)
    return undefined
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function versionOf(bicep: string) {
  return spawnSync(bicep, ['--version'], { encoding: 'utf8', timeout: VERSION_LIMIT_MS })
}

/** The first line that speaks of an error, else the last one. */
function errorLine(stdout: string | null, stderr: string | null): string {
  const lines = `${stdout ?? ''}\n${stderr ?? ''}`.split('\n').map((line) => line.trim())
  const line =
    lines.find((line) => /\berror\b/i.test(line)) ?? lines.findLast((line) => line !== '') ?? 'no reason given'
  return line.replace(/^.*?: error/, 'error').replace(/\.$/, '')
}

if (import.meta.main) {
  const failure = existsSync(EXECUTABLE) ? undefined : fetchBicep()
  const found = findBicep()
  if ('path' in found) console.log(`The Bicep compiler: ${found.path}`)
  else console.log(`No Bicep compiler, so infra/ is parsed and not compiled: ${failure ?? found.reason}.`)
}
