/** Moving elements where the WebGPU kernels go wrong. */

import type { Node } from '../../../ir/node.ts'
import { applyAlongAxes } from '../../../ops/axis-matrix.ts'
import { knownElements } from '../../../ops/known.ts'
import { resizeMatrices } from '../../../ops/resize.ts'
import { tensorOf, type NodeForm, type NodeForms } from '../../../passes/index.ts'
import { normalizeAxis } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'
import { WEBGPU_CAPABILITIES } from '../capabilities.ts'

/** What a Slice takes of one axis. */
interface Cut {
  readonly axis: number
  readonly start: number
  readonly end: number
  readonly step: number
}

/** Counting down: the kernel of ONNX Runtime 1.30 takes the wrong elements, a Gather of the positions the right ones. */
const slicedBackwards: NodeForm = (op, node) => {
  const x = node.input(0)
  const cuts = WEBGPU_CAPABILITIES.dtypes.has(x.dtype) ? cutsOf(node) : null
  const backwards = cuts?.filter(({ step }) => step < 0) ?? []
  if (!cuts || backwards.length === 0) return null
  const forwards = cuts.filter(({ step }) => step > 0)
  const column = (pick: (cut: Cut) => number) => forwards.map(pick)
  const kept =
    forwards.length === 0
      ? x
      : op.Slice(
          x,
          column(cut => cut.start),
          column(cut => cut.end),
          column(cut => cut.axis),
          column(cut => cut.step),
        )
  return backwards.reduce((y, { axis, start, end, step }) => {
    const count = Math.max(0, Math.ceil((end - start) / step))
    const positions = Array.from({ length: count }, (_, i) => BigInt(start + i * step))
    return op.Gather(y, op.constant(Tensor.of('int64', [count], positions)), axis)
  }, kept)
}

/** The cuts with starts and ends inside the axes (an end of −1 is before the first element); null if they are computed. */
function cutsOf(node: Node): Cut[] | null {
  const { shape, rank } = node.input(0)
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map(index => {
    const input = node.inputs[index]
    const tensor = input ? tensorOf(input) : null
    if (input && !tensor?.resident) return null
    return tensor ? Array.from(tensor.view(), Number) : undefined
  })
  if (!starts || !ends || axes === null || steps === null) return null
  return starts.map((first, i) => {
    const axis = normalizeAxis(axes?.[i] ?? i, rank, node.label)
    const step = steps?.[i] ?? 1
    const dim = shape[axis]!
    const within = (index: number, low: number, high: number) =>
      Math.min(Math.max(index < 0 ? index + dim : index, low), high)
    const [low, high] = step > 0 ? [0, dim] : [-1, dim - 1]
    return { axis, start: within(first, Math.max(low, 0), high), end: within(ends[i]!, low, high), step }
  })
}

/** Dropout that drops nothing is its input: the browser's build has no kernel for it on any device. */
const dropoutOfNothing: NodeForm = (_, node, reads) => {
  const mode = node.inputs[2]
  const tensor = mode ? tensorOf(mode) : null
  const trains = mode && !(tensor?.resident && tensor.toNumbers()[0] === 0)
  return trains || reads(1) ? null : node.input(0)
}

/** With antialias the kernel fails: one matrix for each axis. */
const antialiasedResize: NodeForm = (op, node) => {
  if (node.int('antialias', 0) === 0) return null
  const [roi, scales, sizes] = [1, 2, 3].map(index => {
    const input = node.inputs[index]
    return input && !input.staticShape?.includes(0) ? knownElements(node, index) : null
  }) as [number[] | null, number[] | null, number[] | null]
  return applyAlongAxes(op, node.input(0), resizeMatrices(node, { roi, scales, sizes }))
}

export const movementForms: NodeForms = {
  Slice: [slicedBackwards],
  Dropout: [dropoutOfNothing],
  Resize: [antialiasedResize],
}
