// A Function app that reads the request and answers as the gateway would: what the host and the Functions library cost.
const { app } = require('@azure/functions')
const { GENERATE_ANSWER, LOG_LINE } = require('../answer.ts')

const logs = process.env.LOG_LINES === 'true'

app.setup({ enableHttpStream: true })
app.http('generate', {
  methods: ['POST'],
  authLevel: 'anonymous',
  handler: async (request, context) => {
    await request.text()
    if (logs) context.log(LOG_LINE)
    return {
      headers: { 'content-type': 'application/json', 'content-length': String(GENERATE_ANSWER.length) },
      body: GENERATE_ANSWER,
    }
  },
})
