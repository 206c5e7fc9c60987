/** What a server of files must do: give ranges of a file, always of the same version. */

import { InputError } from '../util/errors.ts'
import type { RetryOptions } from './retry.ts'

/** What a server says about a file. */
export interface RemoteStat {
  readonly byteLength: number
  /** What tells this version of the file from others, such as its ETag; null where the server says nothing. */
  readonly version: string | null
}

/** Ranges of one remote file, each by a request of its own; RemoteSource caches and splits. */
export interface RangeReader extends RemoteStat {
  /** For messages: the URL without secrets. */
  readonly name: string
  /** The first bytes, as far as they came with the answer that told the length. */
  readonly head: Uint8Array
  /** Exactly these bytes, which lie inside the file. */
  fetch(offset: number, length: number): Promise<Uint8Array>
}

export interface RemoteOptions extends RetryOptions {
  /** How long nothing may come, in milliseconds, before a request counts as failed; default 30,000. */
  readonly timeoutMs?: number
}

export const TIMEOUT_MS = 30_000

/** What other people's uploads do in the middle of our work. */
export function changed(name: string): InputError {
  return new InputError(`read ${name}: the file was replaced by another while it was read`, {
    cure: 'run the command again when the upload is complete',
  })
}
