/** XXH64 without WebAssembly, for engines that have none. Source: xxhash_spec.md of Cyan4973/xxHash. */

const PRIME1 = 0x9e3779b185ebca87n
const PRIME2 = 0xc2b2ae3d27d4eb4fn
const PRIME3 = 0x165667b19e3779f9n
const PRIME4 = 0x85ebca77c2b2ae63n
const PRIME5 = 0x27d4eb2f165667c5n

const u64 = (x: bigint) => BigInt.asUintN(64, x)
const rotate = (x: bigint, by: bigint) => u64((x << by) | (x >> (64n - by)))
const round = (accumulator: bigint, lane: bigint) =>
  u64(rotate(u64(accumulator + lane * PRIME2), 31n) * PRIME1)
const merge = (hash: bigint, accumulator: bigint) => u64((hash ^ round(0n, accumulator)) * PRIME1 + PRIME4)

/** The hash of bytes with seed 0. */
export function xxh64(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = bytes.byteLength
  let at = 0
  let hash = PRIME5
  if (end >= 32) {
    const lanes = [u64(PRIME1 + PRIME2), PRIME2, 0n, u64(-PRIME1)]
    for (; at + 32 <= end; at += 32) {
      for (let k = 0; k < 4; k++) lanes[k] = round(lanes[k]!, view.getBigUint64(at + 8 * k, true))
    }
    const shifts = [1n, 7n, 12n, 18n]
    hash = u64(lanes.reduce((sum, lane, k) => sum + rotate(lane, shifts[k]!), 0n))
    for (const lane of lanes) hash = merge(hash, lane)
  }
  hash = u64(hash + BigInt(end))
  for (; at + 8 <= end; at += 8) {
    hash = u64(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * PRIME1 + PRIME4)
  }
  if (at + 4 <= end) {
    hash = u64(rotate(hash ^ u64(BigInt(view.getUint32(at, true)) * PRIME1), 23n) * PRIME2 + PRIME3)
    at += 4
  }
  for (; at < end; at++) hash = u64(rotate(hash ^ u64(BigInt(bytes[at]!) * PRIME5), 11n) * PRIME1)
  hash = u64((hash ^ (hash >> 33n)) * PRIME2)
  hash = u64((hash ^ (hash >> 29n)) * PRIME3)
  return hash ^ (hash >> 32n)
}
