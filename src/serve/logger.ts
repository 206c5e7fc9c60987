/** The log: JSON lines on stderr, where they are not mixed with results. */

import { pino, type Logger } from 'pino'

export function makeLogger(level: string): Logger {
  return pino({ level }, pino.destination({ dest: 2, sync: false }))
}
