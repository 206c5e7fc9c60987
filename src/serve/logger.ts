/** The log: JSON lines on stderr, where they are not mixed with results. */

import { pino, type Logger } from 'pino'

const stderr = pino.destination({ dest: 2, sync: false })
// What cannot be written, to a terminal that is gone for instance, is no reason to end, nor to try it for ever at the end.
stderr.on('error', () => {
  Object.assign(stderr, { write: () => true, flushSync: () => undefined, end: () => undefined })
})

export function makeLogger(level: string): Logger {
  return pino({ level }, stderr)
}

/** Nothing may be on its way, and what is may find no reader. */
const FLUSH_MS = 200

/** Resolves when what was logged is written, for an end that waits for nothing else. */
export function flushLog(): Promise<void> {
  return new Promise(resolve => {
    stderr.once('drain', resolve)
    setTimeout(resolve, FLUSH_MS)
  })
}
