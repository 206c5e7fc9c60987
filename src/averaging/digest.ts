/**
 * Hashes of tensors and members: what tells that a checkpoint would count twice. Elements are hashed with XXH64 in pieces
 * (piece-hash.ts), as fast as they are read, and the pieces' hashes with SHA-256. They guard against mistakes, not
 * against somebody who makes two checkpoints with one hash.
 */

import { createHash, type Hash } from 'node:crypto'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Checkpoint } from './checkpoint.ts'
import { BLOCK_BYTES, BlockMemory } from './block-memory.ts'
import { hashPieces, PIECE } from './piece-hash.ts'

/** Bytes read at a time; the next ones are read meanwhile. */
const CHUNK = 1 << 20

/** The hash of elements that come in order: whole pieces, but for the last. */
export class ElementHash {
  readonly #hash = createHash('sha256')

  addPieces(hashes: BigUint64Array): void {
    this.#hash.update(new Uint8Array(hashes.buffer, hashes.byteOffset, hashes.byteLength))
  }

  addBytes(bytes: Uint8Array): void {
    memory = memory === undefined ? BlockMemory.create() : memory
    for (let start = 0; start < bytes.byteLength; start += BLOCK_BYTES) {
      const block = bytes.subarray(start, start + BLOCK_BYTES)
      memory?.members[0]!.set(block)
      const hashes = new BigUint64Array(Math.ceil(block.byteLength / PIECE))
      hashPieces(memory, 0, block, hashes, 0)
      this.addPieces(hashes)
    }
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

let memory: BlockMemory | null | undefined

/** The hash of packed elements. */
export function bytesDigest(bytes: Uint8Array): string {
  const hash = new ElementHash()
  hash.addBytes(bytes)
  return hash.digest()
}

/** The hash of a tensor's packed elements; strings count with their lengths. */
export async function tensorDigest({ data }: Tensor): Promise<string> {
  if (data instanceof Uint8Array) return bytesDigest(data)
  if (!('source' in data)) return stringsDigest(createHash('sha256'), data)
  const hash = new ElementHash()
  const { source, offset, length } = data
  const read = (at: number) => source.read(offset + at, Math.min(CHUNK, length - at))
  let next = length > 0 ? read(0) : null
  for (let at = CHUNK; next; at += CHUNK) {
    const bytes = await next
    next = at < length ? read(at) : null
    // A failure is reported when its turn comes.
    next?.catch(() => undefined)
    hash.addBytes(bytes)
  }
  return hash.digest()
}

function stringsDigest(hash: Hash, strings: readonly Uint8Array[]): string {
  for (const bytes of strings) hash.update(`${bytes.byteLength}:`).update(bytes)
  return hash.digest('hex')
}

export interface TensorDigest {
  readonly name: string
  readonly dtype: DType
  readonly dims: Shape
  readonly digest: string
}

/** The hash of a member, from those of its tensors. */
export function memberDigest(tensors: readonly TensorDigest[]): string {
  const lines = [...tensors]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(
      ({ name, dtype, dims, digest }) => `${digest} ${dtype} ${formatShape(dims)} ${JSON.stringify(name)}\n`,
    )
  return createHash('sha256').update(lines.join('')).digest('hex')
}

/** The hash of a checkpoint that is read for it. */
export async function checkpointDigest({ tensors }: Pick<Checkpoint, 'tensors'>): Promise<string> {
  const digests: TensorDigest[] = []
  for (const [name, { tensor, dtype, dims }] of tensors) {
    if (tensor) digests.push({ name, dtype, dims, digest: await tensorDigest(tensor) })
  }
  return memberDigest(digests)
}
