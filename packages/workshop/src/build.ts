import { bundle } from './bundle.ts'

const { outputs } = await bundle()
for (const [file, { bytes }] of Object.entries(outputs)) console.log(`${file}: ${(bytes / 1e6).toFixed(2)} MB`)
