/** The server of a soak, in a process of its own that is told when a session is to end: `soak-server <folder>`. */

import { pino } from 'pino'
import { setFlagsFromString } from 'node:v8'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { startServer } from '../../src/serve/server.ts'

/** What the soak tells it, and what it answers. */
export type SoakOrder = 'crash' | 'memory' | 'stop'
export type SoakAnswer =
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'memory'; readonly rss: number; readonly heap: number }
  | { readonly kind: 'crashed'; readonly model: string }

const say = (answer: SoakAnswer) => process.send!(answer)

// As the command does.
setFlagsFromString('--no-incremental-marking')
const server = await startServer({
  places: [{ path: process.argv[2]!, name: null }],
  engine: cpuEngine(),
  port: 0,
  pollMs: 500,
  limits: { requestMs: 5000 },
  logger: pino({ level: 'error' }, pino.destination(2)),
})
say({ kind: 'listening', url: server.url })

let turn = 0
process.on('message', order => {
  if (order === 'memory') {
    const { rss, heapUsed } = process.memoryUsage()
    say({ kind: 'memory', rss, heap: heapUsed })
  } else if (order === 'crash') {
    const { models } = server.repository
    const version = models[turn++ % models.length]!.pick(null)
    const instance = version.instances[turn % version.instances.length]!
    void instance.crash().then(() => say({ kind: 'crashed', model: version.name }))
  } else if (order === 'stop') {
    void server.close().then(() => process.exit(0))
  }
})
process.on('disconnect', () => process.exit(1))
