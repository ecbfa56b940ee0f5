import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { unzipSync } from 'fflate'
import { cleanEnv } from './host.ts'

/** What `npm run package` makes in this checkout. @throws with what the command said, where it refuses. */
export function packageApp(root: string, file: string): Buffer {
  const script = join(root, 'packages/workshop/src/package.ts')
  const { status, stderr } = spawnSync(process.execPath, [script, '--out', file], {
    cwd: root,
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr)
  return readFileSync(file)
}

/** @returns the paths in it */
export function unpack(zip: Uint8Array, folder: string): string[] {
  const files = Object.entries(unzipSync(zip))
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), bytes)
  }
  return files.map(([path]) => path)
}
