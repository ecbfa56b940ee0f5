import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { bundle, ROOT } from './bundle.ts'

/*
 * Writes the bundle, whole at once and only if it has changed: another host may be loading it.
 */
for (const { path, contents } of (await bundle()).files) {
  if (existsSync(path) && readFileSync(path).equals(contents)) continue
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.${process.pid}`, contents)
  renameSync(`${path}.${process.pid}`, path)
  console.log(`${relative(ROOT, path)}: ${(contents.byteLength / 1e6).toFixed(2)} MB`)
}
