/**
 * Larger constants that lowerings share: one tensor for each key, whatever tape it is written on. ONNX Runtime merges equal nodes only where they read the very same
 * initializer, so that sharing also lets the gradient reuse what the forward pass transformed.
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Graph } from '../../../ir/graph.ts'
import type { Value } from '../../../ir/value.ts'
import { redirectReads } from '../../../passes/index.ts'
import type { Shape } from '../../../tensor/shape.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

const tensors = new Map<string, Tensor>()

/** A constant with the one tensor of that key. */
function shared(op: Builder, key: string, make: () => Tensor): Value {
  let tensor = tensors.get(key)
  if (!tensor) tensors.set(key, (tensor = make()))
  return op.constant(tensor)
}

/** Makes one initializer of all that hold the same tensor. */
export function mergeSharedConstants(graph: Graph): void {
  const first = new Map<Tensor, Value>()
  const merged = new Map<Value, Value>()
  for (const value of graph.initializers) {
    if (!value.tensor || graph.outputs.includes(value)) continue
    const kept = first.get(value.tensor)
    if (kept) merged.set(value, kept)
    else first.set(value.tensor, value)
  }
  redirectReads(graph, merged)
  graph.initializers = graph.initializers.filter(value => !merged.has(value))
}

/** A float32 constant; `key` tells it from the others of that shape. */
export function sharedFloats(op: Builder, key: string, shape: Shape, values: readonly number[]): Value {
  return shared(op, `${key}|${shape.join()}`, () => Tensor.of('float32', shape, values))
}

/** [taps, 1, k...]: kernel `i` is one at tap `i`, so that a convolution with them copies windows into channels. */
export function tapKernels(op: Builder, kernel: Shape): Value {
  const taps = sizeOf(kernel)
  return shared(op, `taps|${kernel.join()}`, () => {
    const eye = Array.from({ length: taps * taps }, (_, i) => Number(i % (taps + 1) === 0))
    return Tensor.of('float32', [taps, 1, ...kernel], eye)
  })
}

/**
 * Reorders the leading axes of a tensor [dims..., row]: a Gather of whole rows, which ONNX Runtime copies on all threads
 * (its Transpose of inner runs does not).
 */
export function permuteRows(op: Builder, x: Value, dims: Shape, perm: readonly number[], row: number): Value {
  const indices = shared(op, `rows|${dims.join()}|${perm.join()}`, () => {
    const order = permutedIndices(dims, perm)
    return Tensor.of('int64', [order.length], order)
  })
  const rows = op.Gather(op.Reshape(x, [sizeOf(dims), row]), indices, 0)
  return op.Reshape(rows, [...perm.map(axis => dims[axis]!), row])
}

/** For each row of the permuted tensor in order, its index before the permutation. */
function permutedIndices(dims: Shape, perm: readonly number[]): bigint[] {
  const strides = dims.map((_, axis) => sizeOf(dims.slice(axis + 1)))
  return perm
    .reduce<number[]>(
      (heads, axis) =>
        heads.flatMap(head => Array.from({ length: dims[axis]! }, (_, i) => head + i * strides[axis]!)),
      [0],
    )
    .map(BigInt)
}
