import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createContext, Script } from 'node:vm'

/* Microsoft's own parser of KQL, since no deployment and no other tool reads a query before it is asked. */

/** The columns of the workspace's table that the queries read. */
const COLUMNS = { TimeGenerated: 'DateTime', Message: 'String', ItemCount: 'Int' } as const

// biome-ignore lint/suspicious/noExplicitAny: compiled from C#, in scripts for a browser, whose types name overloads by number
const { KustoCode, GlobalState, Symbols } = load().Kusto.Language as any

const columns = Object.entries(COLUMNS).map(([name, type]) => new Symbols.ColumnSymbol(name, Symbols.ScalarTypes[type]))
const table = new Symbols.TableSymbol.$ctor4('AppTraces', columns)
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1('workspace', [table]))

function load() {
  const folder = dirname(createRequire(import.meta.url).resolve('@kusto/language-service-next/package.json'))
  // A context of its own: the scripts change what they find in theirs.
  const context = createContext({})
  for (const file of ['bridge.min.js', 'Kusto.Language.Bridge.min.js']) {
    new Script(readFileSync(join(folder, file), 'utf8'), { filename: file }).runInContext(context)
  }
  return context
}

/** What is wrong with a query over the log: its form, and names of columns and functions that are not there. */
export function kqlFaults(query: string): string[] {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics()
  return Array.from({ length: found.Count }, (_, index) => {
    const { Message, Start, Length } = found.getItem(index)
    return `${Message} (${query.slice(Start, Start + Length)})`
  })
}
