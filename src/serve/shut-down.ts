/** The end of a server, in order and in time. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Connections } from './http/connections.ts'
import type { Poll } from './repository/poll.ts'
import type { Repository } from './repository/repository.ts'

export interface Closing {
  readonly app: FastifyInstance
  readonly connections: Connections
  readonly repository: Repository
  readonly polls: readonly Poll[]
  readonly logger: FastifyBaseLogger
  /** Milliseconds in which it says that it goes, and still takes everything. */
  readonly noticeMs: number
  /** Milliseconds that requests have after that. */
  readonly drainMs: number
}

/** For sessions that have nothing to do any more to give their memory back. */
export const LAST_MS = 1000

/** Whether all was given back in time: nothing ends a run but the end of the process. */
export async function shutDown(closing: Closing): Promise<boolean> {
  const { app, connections, repository, polls, logger, noticeMs, drainMs } = closing
  connections.leave()
  const looked = Promise.all(polls.map(one => one.stop()))
  await sleep(noticeMs)
  const end = performance.now() + drainMs
  const late = setTimeout(() => connections.closeAll(), drainMs)
  await app.close()
  clearTimeout(late)
  const versions = repository.models.flatMap(model => model.versions)
  const closed = looked.then(() => repository.close())
  const inTime = await within(Math.max(0, end - performance.now()) + LAST_MS, closed)
  if (inTime) return true
  for (const { name: model, version, instances } of versions) {
    if (instances.some(({ running }) => running > 0)) logger.warn({ model, version }, 'it still runs')
  }
  logger.warn('the time to shut down is over: not everything has ended')
  return false
}

/** Whether work was done within so many milliseconds. */
export async function within(ms: number, work: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>(resolve => {
    timer = setTimeout(resolve, ms, false)
  })
  const done = await Promise.race([work.then(() => true), late])
  clearTimeout(timer)
  return done
}
