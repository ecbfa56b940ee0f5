import { posix } from 'node:path'

/** Imports of one file: paths of files from the repository's root, with forward slashes. */
export interface FileImports {
  readonly file: string
  readonly imports: readonly string[]
}

/** An import of one folder by another that closes a circle. */
export interface FolderImport {
  readonly from: string
  readonly to: string
}

/**
 * Circles between folders. A sub-folder is a folder of its own, so that one which imports its parent, and is imported by
 * it, is a circle as well. A folder's `index.ts` is no part of it: it is the door that stands before the folder and its
 * sub-folders, may import all of them, and is imported from outside.
 *
 * @param allowed imports that are left out of account. One that closes no circle any more is told as a fault.
 * @returns faults in words; none where imports between folders run one way
 */
export function folderCircles(files: readonly FileImports[], allowed: readonly FolderImport[] = []): string[] {
  const edges = edgesOf(files)
  const stale = allowed.filter(
    ({ from, to }) => !edges.get(from)?.has(to) || pathBetween(to, from, edges) === undefined,
  )
  for (const { from, to } of allowed) edges.get(from)?.delete(to)

  const circles = circlesIn(edges).map((circle) => {
    const lines = pairsOf(circle).map(([from, to]) => `  ${edges.get(from)?.get(to)}`)
    return [`folders import each other: ${circle.join(' → ')}`, ...lines].join('\n')
  })
  return [...stale.map(({ from, to }) => `${from} → ${to} closes no circle: allow it no longer`), ...circles]
}

/** For each import that closes a circle the shortest one; of circles that share an import only the first. */
function circlesIn(edges: Edges): string[][] {
  const circles: string[][] = []
  for (const [from, targets] of edges) {
    for (const to of targets.keys()) {
      const back = pathBetween(to, from, edges)
      if (back !== undefined) circles.push([from, to, ...back])
    }
  }
  const told = new Set<string>()
  return circles
    .toSorted((a, b) => a.length - b.length)
    .filter((circle) => {
      const pairs = pairsOf(circle).map((pair) => pair.join(' '))
      if (pairs.some((pair) => told.has(pair))) return false
      for (const pair of pairs) told.add(pair)
      return true
    })
}

function pairsOf(circle: readonly string[]): [from: string, to: string][] {
  return circle.slice(1).map((to, index) => [circle[index] ?? '', to])
}

type Edges = Map<string, Map<string, string>>

/** Which folder imports which, with one import of each as an example. */
function edgesOf(files: readonly FileImports[]): Edges {
  const edges: Edges = new Map()
  for (const { file, imports } of files) {
    const from = folderOf(file)
    const targets = edges.get(from) ?? new Map<string, string>()
    edges.set(from, targets)
    for (const target of imports) {
      const to = folderOf(target)
      if (to !== from && !targets.has(to)) targets.set(to, `${file} imports ${target}`)
    }
  }
  return edges
}

function folderOf(file: string): string {
  return posix.basename(file) === 'index.ts' ? file : posix.dirname(file)
}

/** The shortest way of imports from one folder to another, without the first; `undefined` where there is none. */
function pathBetween(from: string, to: string, edges: Edges): string[] | undefined {
  const before = new Map<string, string | undefined>([[from, undefined]])
  for (const folder of before.keys()) {
    if (folder === to) break
    for (const next of edges.get(folder)?.keys() ?? []) if (!before.has(next)) before.set(next, folder)
  }
  if (!before.has(to)) return undefined
  const path: string[] = []
  for (let at: string | undefined = to; at !== undefined && at !== from; at = before.get(at)) path.unshift(at)
  return path
}
