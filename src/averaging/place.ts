/** Where the bytes of a range of elements are. */

import { readSync } from 'node:fs'
import { InputError, messageOf } from '../util/errors.ts'

/** In an open file, or given. */
export type Place =
  | { readonly fd: number; readonly position: number; /** For messages. */ readonly name: string }
  | { readonly bytes: Uint8Array }

/** Copies the bytes of a place, from `offset` on. */
export function take(place: Place, offset: number, into: Uint8Array): void {
  if ('bytes' in place) {
    into.set(place.bytes.subarray(offset, offset + into.byteLength))
    return
  }
  const { fd, position, name } = place
  for (let done = 0; done < into.byteLength;) {
    let read: number
    try {
      read = readSync(fd, into, done, into.byteLength - done, position + offset + done)
    } catch (error) {
      throw new InputError(`read ${name}: ${messageOf(error)}`, { cause: error })
    }
    if (read === 0) {
      const at = position + offset + done
      throw new InputError(`${name}: the file became shorter while it was read (at byte ${at})`)
    }
    done += read
  }
}
