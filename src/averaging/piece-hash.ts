/** The hash of packed elements, piece by piece, so that ranges can be hashed in any order and by any thread. */

import type { BlockMemory } from './block-memory.ts'
import { xxh64 } from './xxh64.ts'

/** Bytes that are hashed by themselves. */
export const PIECE = 1 << 16

/** XXH64 of each piece of `bytes`, which are also in member `member` of `memory` if there is one, into `out` from `at`. */
export function hashPieces(
  memory: BlockMemory | null,
  member: number,
  bytes: Uint8Array,
  out: BigUint64Array,
  at: number,
): void {
  for (let start = 0, k = at; start < bytes.byteLength; start += PIECE, k++) {
    const length = Math.min(PIECE, bytes.byteLength - start)
    out[k] = memory ? memory.hash(member, start, length) : xxh64(bytes.subarray(start, start + length))
  }
}
