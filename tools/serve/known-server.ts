/**
 * A server of models whose answers are known (y = a + b, and y = x of the datatypes that the recorded client speaks), until
 * it is interrupted: record_client.py and check_client.py run against it.
 */

import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { pino } from 'pino'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { startServer } from '../../src/serve/server.ts'
import { RECORDED_DATATYPES, writeKnownModels } from '../../test/serve/support/identity-models.ts'

const folder = await writeKnownModels(RECORDED_DATATYPES)
const adminToken = randomUUID()
const server = await startServer({
  places: [{ path: folder, name: null }],
  engine: cpuEngine(),
  port: 0,
  adminToken,
  settings: { instances: 1, threads: 1 },
  logger: pino({ level: 'warn' }),
})
console.log(`${new URL(server.url).host} ${adminToken}`)
process.once('SIGINT', () => {
  void server.close().then(() => rmSync(folder, { recursive: true, force: true }))
})
