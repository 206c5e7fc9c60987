/** The tensors of a decoded model: read once, before graphs are, and found again by their message. */

import { invariant } from '../util/errors.ts'
import type { ByteRange } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { markerOf, type ModelProto, type TensorProto } from './proto.ts'
import { readTensor, type FileTensor, type TensorContext } from './read-tensor.ts'
import type { TensorSite } from './scan.ts'
import { tensorProtos } from './tensor-protos.ts'

/** A tensor's message in the file, and where its elements are if they are in another. */
export interface TensorPlace {
  /** Names the tensor in messages, e.g. `initializer "w"`. */
  readonly label: string
  readonly site: TensorSite
  readonly external: ByteRange | null
}

const TENSORS = new WeakMap<TensorProto, FileTensor>()

/** Reads all tensors; gives the place of each. */
export async function readTensors(
  model: ModelProto,
  sites: readonly TensorSite[],
  context: TensorContext,
): Promise<Map<Tensor, TensorPlace>> {
  const places = new Map<Tensor, TensorPlace>()
  for (const { proto, label } of tensorProtos(model)) {
    const site = sites[markerOf(proto)]!
    const found = await readTensor(proto, site, context, label)
    TENSORS.set(proto, found)
    places.set(found.tensor, { label, site, external: found.external })
  }
  return places
}

/** The tensor that was read for a message. */
export function tensorOf(proto: TensorProto): Tensor {
  return recordOf(proto).tensor
}

/** Whether the elements of a message's tensor were in another file. */
export function wasExternal(proto: TensorProto): boolean {
  return recordOf(proto).external !== null
}

function recordOf(proto: TensorProto) {
  const record = TENSORS.get(proto)
  invariant(record, `tensor "${proto.name ?? ''}" was not read`)
  return record
}
