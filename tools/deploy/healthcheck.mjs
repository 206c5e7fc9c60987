/**
 * What the images' HEALTHCHECK runs: exit code 0 if the server is ready, else 1. HEALTHCHECK_URL names another port,
 * `https:`, or `/v2/health/live`.
 */

import http from 'node:http'
import https from 'node:https'

const url = new URL(process.env.HEALTHCHECK_URL ?? 'http://127.0.0.1:8000/v2/health/ready')
const { get } = url.protocol === 'https:' ? https : http

// Certificates are not for 127.0.0.1, and nobody is between this and the server.
const request = get(url, { timeout: 4000, rejectUnauthorized: false }, response => {
  if (response.statusCode !== 200) console.error(`${url}: status ${response.statusCode}`)
  process.exit(response.statusCode === 200 ? 0 : 1)
})
request.on('timeout', () => request.destroy(new Error('no answer within 4 s')))
request.on('error', error => {
  console.error(`${url}: ${error.message}`)
  process.exit(1)
})
