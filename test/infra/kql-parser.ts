import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createContext, Script } from 'node:vm'

/* Microsoft's own parser of KQL, since no deployment and no other tool reads a query before it is asked. */

/** The columns of the workspace's tables that the queries read. */
const TABLES = {
  AppTraces: { TimeGenerated: 'DateTime', Message: 'String', ItemCount: 'Int' },
  AppDependencies: { TimeGenerated: 'DateTime', Properties: 'Dynamic', Success: 'Bool', ItemCount: 'Int' },
} as const

// biome-ignore lint/suspicious/noExplicitAny: compiled from C#, in scripts for a browser, whose types name overloads by number
const { KustoCode, GlobalState, Symbols } = load().Kusto.Language as any

const tables = Object.entries(TABLES).map(([name, types]) => {
  const columns = Object.entries(types).map(
    ([column, type]) => new Symbols.ColumnSymbol(column, Symbols.ScalarTypes[type]),
  )
  return new Symbols.TableSymbol.$ctor4(name, columns)
})
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1('workspace', tables))

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
