import { type Zippable, zipSync } from 'fflate'

/** Zip counts from here, in the time of no zone. */
const NO_TIME = new Date(1980, 0, 1)

/**
 * A zip of these files by their paths. The same bytes for the same files, on every machine and at any time.
 */
export function archive(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const zippable: Zippable = {}
  for (const path of [...files.keys()].sort()) zippable[path] = files.get(path) ?? new Uint8Array()
  return zipSync(zippable, { level: 9, mtime: NO_TIME })
}
