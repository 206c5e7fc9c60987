/** Trying again what failed for a moment: later and later, at random moments, so that many clients do not come at once. */

import { setTimeout as sleep } from 'node:timers/promises'
import { EnvironmentError } from '../util/errors.ts'

export interface RetryOptions {
  /** Attempts in all; default 6. */
  readonly attempts?: number
  /** The wait before the second attempt, in milliseconds, doubled for each further one; default 250. */
  readonly backoffMs?: number
  /** The longest wait, in milliseconds, whatever the server asks for; default 60,000. */
  readonly longestWaitMs?: number
}

/** What another attempt may cure. */
export class TransientError extends Error {
  /** How long the server asks to wait, in milliseconds. */
  readonly waitMs: number | null

  constructor(message: string, details: { cause?: unknown; waitMs?: number | null } = {}) {
    super(message, { cause: details.cause })
    this.waitMs = details.waitMs ?? null
  }
}

/** Repeats an attempt as long as it throws `TransientError`; the last one becomes an `EnvironmentError` about `what`. */
export async function withRetries<T>(
  what: string,
  attempt: () => Promise<T>,
  { attempts = 6, backoffMs = 250, longestWaitMs = 60_000 }: RetryOptions = {},
): Promise<T> {
  for (let i = 1; ; i++) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof TransientError)) throw error
      if (i >= attempts) {
        throw new EnvironmentError(`${what}: ${error.message} (${attempts} attempts)`, {
          cause: error.cause,
          cure: 'run the command again when the server can be reached',
        })
      }
      const backoff = backoffMs * 2 ** (i - 1) * (0.5 + Math.random() / 2)
      await sleep(Math.min(longestWaitMs, Math.max(backoff, error.waitMs ?? 0)))
    }
  }
}

/** A `Retry-After` of seconds or a date, in milliseconds from now. */
export function parseRetryAfter(text: string | null): number | null {
  if (text === null) return null
  if (/^\d+$/.test(text.trim())) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now())
}
