// A Function app that does nothing but answer: what the host and the Functions library cost.
const { app } = require('@azure/functions')
const { CONSTANT } = require('../constant.ts')

app.setup({ enableHttpStream: true })
app.http('generate', {
  methods: ['POST'],
  authLevel: 'anonymous',
  handler: async (request) => {
    await request.text()
    return {
      headers: { 'content-type': 'application/json', 'content-length': String(CONSTANT.length) },
      body: CONSTANT,
    }
  },
})
