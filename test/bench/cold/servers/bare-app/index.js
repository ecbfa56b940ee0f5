// A Function app that does nothing but answer.
const { app } = require('@azure/functions')

app.setup({ enableHttpStream: true })
app.http('generate', {
  methods: ['POST'],
  authLevel: 'anonymous',
  handler: async (request) => {
    await request.text()
    return { jsonBody: { data: { completion: 'Yes.' }, status: 'success' } }
  },
})
