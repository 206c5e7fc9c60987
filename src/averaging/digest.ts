/**
 * Fingerprints of weights. The hash of a member is the SHA-256 of one line for each of its tensors, sorted by name:
 * `<SHA-256 of the packed bytes> <dtype> <dims> <JSON of the name>\n`. It depends on the weights alone, not on the file
 * around them: an ONNX file, a snapshot of it and a copy have the same hash.
 */

import { createHash } from 'node:crypto'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Bytes hashed at a time; the next ones are read meanwhile. */
const CHUNK = 1 << 20

/** SHA-256 of the packed bytes of a tensor; strings count with their lengths. */
export async function tensorDigest({ data }: Tensor): Promise<string> {
  const hash = createHash('sha256')
  if (data instanceof Uint8Array) hash.update(data)
  else if ('source' in data) {
    const read = (at: number) => data.source.read(data.offset + at, Math.min(CHUNK, data.length - at))
    let next = data.length > 0 ? read(0) : null
    for (let at = CHUNK; next; at += CHUNK) {
      const bytes = await next
      next = at < data.length ? read(at) : null
      // A failure is reported when its turn comes.
      next?.catch(() => undefined)
      hash.update(bytes)
    }
  } else for (const bytes of data) hash.update(`${bytes.byteLength}:`).update(bytes)
  return hash.digest('hex')
}

export interface TensorDigest {
  readonly name: string
  readonly dtype: DType
  readonly dims: Shape
  readonly sha256: string
}

/** The hash of a member, from those of its tensors. */
export function memberDigest(tensors: readonly TensorDigest[]): string {
  const lines = [...tensors]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(
      ({ name, dtype, dims, sha256 }) => `${sha256} ${dtype} ${formatShape(dims)} ${JSON.stringify(name)}\n`,
    )
  return createHash('sha256').update(lines.join('')).digest('hex')
}
