/** The tensors of a decoded model: read once, before graphs are, and found again by their message. */

import { invariant } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { isExternal, markerOf, type ModelProto, type TensorProto } from './proto.ts'
import { readTensor, type TensorContext } from './read-tensor.ts'
import type { TensorSite } from './scan.ts'
import { tensorProtos } from './tensor-protos.ts'

const TENSORS = new WeakMap<TensorProto, { tensor: Tensor; external: boolean }>()

/** Reads all tensors; gives the place of each in the file. */
export async function readTensors(
  model: ModelProto,
  sites: readonly TensorSite[],
  context: TensorContext,
): Promise<Map<Tensor, TensorSite>> {
  const places = new Map<Tensor, TensorSite>()
  for (const { proto, label } of tensorProtos(model)) {
    const site = sites[markerOf(proto)]!
    const tensor = await readTensor(proto, site, context, label)
    TENSORS.set(proto, { tensor, external: isExternal(proto) })
    places.set(tensor, site)
  }
  return places
}

/** The tensor that was read for a message. */
export function tensorOf(proto: TensorProto): Tensor {
  return recordOf(proto).tensor
}

/** Whether the elements of a message's tensor were in another file. */
export function wasExternal(proto: TensorProto): boolean {
  return recordOf(proto).external
}

function recordOf(proto: TensorProto) {
  const record = TENSORS.get(proto)
  invariant(record, `tensor "${proto.name ?? ''}" was not read`)
  return record
}
