/** Requests side by side in one run: inputs joined along the first dimension, outputs taken apart again. */

import type { Feeds } from '../../runtime/engine.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { buffers } from './buffers.ts'
import type { Results } from './work.ts'

/** Requests whose inputs differ in nothing but the first dimension have one key. */
export function batchKey(inputs: Feeds): string {
  let key = ''
  for (const [name, { dims }] of inputs) key += `${name}:${dims.slice(1).join(',')};`
  return key
}

/** Samples of a request, when all inputs agree on it; null where they do not. */
export function itemsOf(inputs: Feeds): number | null {
  let items: number | null = null
  for (const { dims } of inputs.values()) {
    const [first] = dims
    if (first === undefined || (items !== null && items !== first)) return null
    items = first
  }
  return items
}

/** The inputs of requests one behind the other, in memory of `buffers`. */
export function joinInputs(requests: readonly Feeds[]): Map<string, Tensor> {
  const joined = new Map<string, Tensor>()
  for (const [name, first] of requests[0]!) {
    const tensors = requests.map(inputs => inputs.get(name)!)
    if (first.dtype === 'string') {
      const strings = tensors.flatMap(({ data }) => data as readonly Uint8Array[])
      joined.set(name, new Tensor('string', joinedDims(tensors), strings))
      continue
    }
    const data = buffers.take(tensors.reduce((sum, { byteLength }) => sum + byteLength, 0))
    let at = 0
    for (const tensor of tensors) {
      data.set(tensor.data as Uint8Array, at)
      at += tensor.byteLength
    }
    joined.set(name, new Tensor(first.dtype, joinedDims(tensors), data))
  }
  return joined
}

function joinedDims(tensors: readonly Tensor[]): readonly number[] {
  const [first, ...others] = tensors
  if (others.length === 0) return first!.dims
  return [tensors.reduce((sum, { dims }) => sum + dims[0]!, 0), ...first!.dims.slice(1)]
}

/** Each request's share of the outputs, as views; null where an output's first dimension does not count the samples. */
export function splitOutputs(outputs: Results, items: readonly number[]): Results[] | null {
  if (items.length === 1) return [outputs]
  const total = items.reduce((sum, count) => sum + count, 0)
  const shares = items.map(() => new Map<string, Tensor>())
  for (const [name, { dtype, dims, data }] of outputs) {
    if (dims[0] !== total) return null
    const all = data as Uint8Array | readonly Uint8Array[]
    const unit = all.length / total
    let at = 0
    items.forEach((count, i) => {
      const share =
        all instanceof Uint8Array
          ? all.subarray(at * unit, (at + count) * unit)
          : all.slice(at * unit, (at + count) * unit)
      shares[i]!.set(name, new Tensor(dtype, [count, ...dims.slice(1)], share))
      at += count
    })
  }
  return shares
}
