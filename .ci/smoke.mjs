// `npm start` as a newcomer runs it: a completion, a hit, a 401 and a 429, each as printed. Then a second start, timed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'

const EXPECTED = [200, 200, 401]
const START_TIMEOUT_MS = 120_000

async function start() {
  const started = performance.now()
  const npm = spawn('npm', ['start'], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  npm.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  while (!output.includes('Ctrl-C')) {
    if (npm.exitCode !== null || performance.now() - started > START_TIMEOUT_MS)
      throw new Error(`npm start failed:\n${output}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const url = /Tollgate runs on (\S+)/.exec(output)?.[1]
  const key = /X-API-KEY: (tg_\w+)/.exec(output)?.[1]
  const ask = (headers) =>
    fetch(`${url}/api/generate`, { method: 'POST', headers, body: '{"prompt":"What is a tollgate?"}' })
  const stop = async () => {
    const gone = once(npm, 'exit')
    npm.kill('SIGTERM')
    await gone
  }
  return { ask, key, stop, seconds: (performance.now() - started) / 1000 }
}

const first = await start()
const statuses = []
let hit = false
for (const headers of [{ 'x-api-key': first.key }, { 'x-api-key': first.key }, {}]) {
  const response = await first.ask(headers)
  statuses.push(response.status)
  hit ||= response.headers.get('cache-status')?.includes('; hit') ?? false
  console.log(response.status, response.headers.get('cache-status') ?? '', await response.text())
}
let last
for (let i = 0; i < 16; i += 1) last = (await first.ask({ 'x-api-key': first.key })).status
await first.stop()
if (String(statuses) !== String(EXPECTED) || last !== 429) throw new Error(`answers were ${statuses} and ${last}`)
if (!hit) throw new Error('the same prompt again was no hit')

const second = await start()
await second.stop()
console.log(`npm start: ${first.seconds.toFixed(1)} s, again: ${second.seconds.toFixed(1)} s`)
