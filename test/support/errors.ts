/** Catching the error that a test expects. */

import * as assert from 'uvu/assert'
import { SwaError } from '../../src/util/errors.ts'

/** The toolkit's error that an action rejects with; fails when it succeeds or fails otherwise. */
export async function errorOf(action: Promise<unknown> | (() => unknown)): Promise<SwaError> {
  try {
    await (typeof action === 'function' ? action() : action)
  } catch (error) {
    if (error instanceof SwaError) return error
    throw error
  }
  assert.unreachable('expected an error, but the call succeeded')
  throw new Error('unreachable')
}
