/** Reductions, over the axes as they lie in memory. */

import { normalizeAxis } from '../../../tensor/shape.ts'
import type { Held } from '../held.ts'
import type { Kernels } from '../kernels.ts'
import { onnxLayout, type Layout } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterRow, type WriterTable } from '../writer.ts'

/** Reduces axes of a slot; they are kept, as ones. */
type Reduce = (k: Kernels, x: Slot, axes: readonly number[]) => Slot

/** The axes of the node (input 1); where none are given all, or none if the node says so: every element is a group of its own. */
function axesOf(context: WriterContext): readonly number[] {
  const { rank } = context.input(0)
  const given = context.needed(1) ?? []
  if (given.length > 0) return given.map(axis => normalizeAxis(axis, rank, context.node.label))
  return context.node.int('noop_with_empty_axes', 0) !== 0 ? [] : onnxLayout(rank)
}

/** What is left of a layout without some axes of the value. */
function layoutWithout(layout: Layout, axes: readonly number[]): Layout {
  const left = layout.filter(axis => !axes.includes(axis))
  return left.map(axis => axis - axes.filter(gone => gone < axis).length)
}

function reduction(reduce: Reduce): WriterRow {
  return writer(context => {
    const { k, node } = context
    const x = context.input(0)
    const axes = axesOf(context)
    const places = axes.map(axis => x.home.indexOf(axis))
    return withoutAxes(context, reduce(k, x.slot, places), axes, node.int('keepdims', 1) !== 0)
  }, 1)
}

/** The result of a reduction that kept its axes, of x's layout, without them unless they are to be kept. */
function withoutAxes(context: WriterContext, kept: Slot, axes: readonly number[], keep: boolean): Held {
  const { home } = context.input(0)
  const { dtype } = context.input(0)
  if (keep) return context.give(kept, { layout: home, dtype })
  const layout = layoutWithout(home, axes)
  const shape = kept.shape.filter((_, place) => !axes.includes(home[place]!))
  return context.give(context.k.reshape(kept, shape), { layout, dtype })
}

const kernel =
  (name: string): Reduce =>
  (k, x, axes) =>
    k.reduce(name, x, axes)

/** m + log Σ exp(x − m) with m the largest element. */
const logSumExp: Reduce = (k, x, axes) => {
  const largest = k.reduce('Max', x, axes)
  return k.add(largest, k.unary('Log', k.sum(k.unary('Exp', k.sub(x, largest)), axes)))
}

/** The first largest (or smallest) along an axis; the last for select_last_index. */
function argument(name: 'ArgMax' | 'ArgMin'): WriterRow {
  return writer(context => {
    const { k, node } = context
    const x = context.input(0)
    const axis = context.axis(0, x.rank)
    const last = node.int('select_last_index', 0) !== 0
    const dim = x.shape[axis]!
    const slot = last ? k.reverse(k.onnx(x), axis) : k.onnx(x)
    const found = k.unary(name, slot, { axis })
    const index = last ? k.sub(k.scalar(dim - 1, 'int32'), found) : found
    const keep = node.int('keepdims', 1) !== 0
    return context.give(keep ? k.reshape(index, x.shape.with(axis, 1)) : index, {
      dtype: 'int64',
    })
  })
}

const square = (k: Kernels, x: Slot) => k.unary('Square', x)

export const reductionWriters: WriterTable = {
  ReduceSum: reduction(kernel('Sum')),
  ReduceMean: reduction((k, x, axes) => k.mean(x, axes)),
  ReduceMax: reduction(kernel('Max')),
  ReduceMin: reduction(kernel('Min')),
  ReduceProd: reduction(kernel('Prod')),
  ReduceL1: reduction((k, x, axes) => k.sum(k.unary('Abs', x), axes)),
  ReduceL2: reduction((k, x, axes) => k.unary('Sqrt', k.sum(square(k, x), axes))),
  ReduceSumSquare: reduction((k, x, axes) => k.sum(square(k, x), axes)),
  ReduceLogSum: reduction((k, x, axes) => k.unary('Log', k.sum(x, axes))),
  ReduceLogSumExp: reduction(logSumExp),
  ArgMax: argument('ArgMax'),
  ArgMin: argument('ArgMin'),
}
