/** Operators whose WebGPU kernel refuses, or gets wrong, some of what ONNX allows. */

import type { Node } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import { tensorOf, type NodeForm, type NodeForms } from '../../../passes/index.ts'
import { normalizeAxis } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

/** storage_order only says how Indices count: without them there is nothing to refuse. */
const maxPoolRowMajor: NodeForm = (op, node, reads) => {
  if (node.int('storage_order', 0) === 0 || reads(1)) return null
  const y = op.one('MaxPool', [node.input(0)], { shape: node.output(0).shape })
  for (const [name, attribute] of node.attributes)
    if (name !== 'storage_order') y.producer!.attributes.set(name, attribute)
  return y
}

/** Scale and bias of the full shape of the normalized axes: the kernel does not broadcast them. */
const layerNormalizationExpanded: NodeForm = (op, node) => {
  const [x, scale, bias] = [node.input(0), node.input(1), node.inputs[2] ?? null]
  const full = x.shape.slice(normalizeAxis(node.int('axis', -1), x.rank, node.label))
  const isFull = (value: Value | null) => value === null || value.shape.join() === full.join()
  if (isFull(scale) && isFull(bias)) return null
  const inputs = [x, op.Expand(scale, full), bias && op.Expand(bias, full)]
  const outputs = node.outputs.map(output => ({
    shape: output?.shape ?? [],
    dtype: output?.dtype ?? x.dtype,
  }))
  const values = op.emit('LayerNormalization', inputs, outputs)
  const made = values[0]!.producer!
  for (const [name, attribute] of node.attributes) made.attributes.set(name, attribute)
  made.outputs = made.outputs.map((value, i) => (node.outputs[i] ? value : null))
  return values
}

/** Axes that are walked backwards are gathered: the kernel takes wrong elements for steps below −1. */
const sliceForwards: NodeForm = (op, node) => {
  const x = node.input(0)
  const parameters = sliceOf(node)
  if (!parameters?.some(({ step }) => step < 0)) return null
  const backwards = parameters.filter(({ step }) => step < 0)
  let y = x
  for (const { axis, start, end, step } of backwards) {
    const size = x.shape[axis]!
    const clamp = (index: number, low: number) =>
      Math.max(low, Math.min(size - 1, index < 0 ? index + size : index))
    const [first, last] = [clamp(start, -1), clamp(end, -1)]
    const positions: bigint[] = []
    for (let i = first; i > last; i += step) positions.push(BigInt(i))
    y = op.Gather(y, op.constant(Tensor.of('int64', [positions.length], positions)), axis)
  }
  const forwards = parameters.filter(({ step }) => step > 0)
  if (forwards.length === 0) return y
  const part = (pick: (each: SliceOfAxis) => number) => op.int64s(forwards.map(pick))
  const inputs = [
    y,
    part(each => each.start),
    part(each => each.end),
    part(each => each.axis),
    part(each => each.step),
  ]
  return op.one('Slice', inputs, { shape: node.output(0).shape })
}

interface SliceOfAxis {
  readonly axis: number
  readonly start: number
  readonly end: number
  readonly step: number
}

/** What a Slice takes of each axis it names; null where that is computed. */
function sliceOf(node: Node): SliceOfAxis[] | null {
  const read = (index: number): readonly number[] | null | undefined => {
    const input = node.inputs[index]
    if (!input) return undefined
    const tensor = tensorOf(input)
    // Not Tensor.toNumbers: "to the end" is the largest int64, which may lose its last bits here.
    return tensor?.resident ? Array.from(tensor.view(), Number) : null
  }
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map(read)
  if (!starts || !ends || axes === null || steps === null) return null
  const { rank } = node.input(0)
  return starts.map((start, i) => ({
    start,
    end: ends[i]!,
    axis: normalizeAxis(axes?.[i] ?? i, rank, node.label),
    step: steps?.[i] ?? 1,
  }))
}

export const limitForms: NodeForms = {
  MaxPool: [maxPoolRowMajor],
  LayerNormalization: [layerNormalizationExpanded],
  Slice: [sliceForwards],
}
