/*
 * Imported first, by whatever starts the gateway: on an older Node the rest would load and then fail at each request.
 */

/** package.json#engines says the same. */
const OLDEST = 22

const { node: found } = process.versions
if (Number.parseInt(found, 10) < OLDEST) {
  const sentence = `Tollgate needs Node ${OLDEST} or later (Azure Functions offers 22 and 24), and this is Node ${found}.`
  // Azure's host tells of an entry point that threw as of an app without functions: the log must hold the reason anyhow.
  console.error(sentence)
  throw Object.assign(new Error(sentence), { operatorMessage: sentence })
}

// Node has it since 22.1.
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null)
