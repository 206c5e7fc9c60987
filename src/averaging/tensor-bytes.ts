/** Ranges of tensors. */

import { invariant } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** A range of a tensor's packed bytes. */
export function readBytes({ data }: Tensor, offset: number, length: number): Promise<Uint8Array> {
  if (data instanceof Uint8Array) return Promise.resolve(data.subarray(offset, offset + length))
  invariant('source' in data, 'strings have no packed bytes')
  return data.source.read(data.offset + offset, length)
}
