/** Slice and Pad: cutting and surrounding with a border, along the axes as they lie in memory. */

import { normalizeAxis } from '../../../tensor/shape.ts'
import { UnsupportedError } from '../../../util/errors.ts'
import { LOWEST, type Kernels } from '../kernels.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

/** Negative indices, clamping and negative steps, by the rules of the operator. */
const Slice = writer(
  context => {
    const { k, node } = context
    const x = context.input(0)
    const [starts, ends] = [context.needed(1) ?? [], context.needed(2) ?? []]
    const axes = context.needed(3) ?? starts.map((_, i) => i)
    const steps = context.needed(4) ?? starts.map(() => 1)
    let y = x.slot
    const begin = y.shape.map(() => 0)
    const end = [...y.shape]
    const strides = y.shape.map(() => 1)
    axes.forEach((given, i) => {
      const axis = normalizeAxis(given, x.rank, node.label)
      const at = x.home.indexOf(axis)
      const [dim, step] = [x.shape[axis]!, steps[i]!]
      const clamp = (index: number, low: number, high: number) =>
        Math.min(Math.max(index < 0 ? index + dim : index, low), high)
      const [low, high] = step > 0 ? [0, dim] : [-1, dim - 1]
      const start = clamp(starts[i]!, Math.max(low, 0), high)
      const count = Math.max(0, Math.ceil((clamp(ends[i]!, low, high) - start) / step))
      // Counting down is counting up in what was turned round.
      if (step < 0) y = k.reverse(y, at)
      const stride = Math.abs(step)
      begin[at] = step < 0 ? dim - 1 - start : start
      end[at] = count === 0 ? begin[at] : begin[at] + (count - 1) * stride + 1
      strides[at] = stride
    })
    return context.give(k.stridedSlice(y, begin, end, strides), { layout: x.home })
  },
  1,
  2,
  3,
  4,
)

const Pad = writer(
  context => {
    const { k, node } = context
    const x = context.input(0)
    const pads = context.needed(1) ?? []
    const axes = (context.needed(3) ?? x.shape.map((_, i) => i)).map(axis =>
      normalizeAxis(axis, x.rank, node.label),
    )
    const paddings = x.shape.map((): [number, number] => [0, 0])
    axes.forEach((axis, i) => (paddings[x.home.indexOf(axis)] = [pads[i]!, pads[i + axes.length]!]))
    // Negative pads cut off.
    const cut = x.slot.shape.map(
      (dim, i) => dim + Math.min(0, paddings[i]![0]) + Math.min(0, paddings[i]![1]),
    )
    const body = k.slice(
      x.slot,
      paddings.map(([begin]) => Math.max(0, -begin)),
      cut,
    )
    const grown = paddings.map(([begin, end]): [number, number] => [Math.max(0, begin), Math.max(0, end)])
    const write = PADS[node.string('mode', 'constant')]
    if (!write) {
      throw new UnsupportedError(
        `${node.label}: attribute mode should be one of ${Object.keys(PADS).join(', ')}, found ${node.string('mode', 'constant')}`,
      )
    }
    return context.give(write(context, body, grown), { layout: x.home })
  },
  1,
  2,
  3,
)

type Paddings = readonly (readonly [number, number])[]

/** Infinite borders as the largest number: shaders cannot write infinity. */
function finite(value: number): number {
  return Number.isFinite(value) ? value : -Math.sign(value) * LOWEST
}

/** The begin and end of each padded axis are copied from inside and put beside it. */
function copied(pick: (k: Kernels, x: Slot, axis: number, count: number, side: 'begin' | 'end') => Slot) {
  return ({ k }: WriterContext, x: Slot, paddings: Paddings) =>
    paddings.reduce((body, [begin, end], axis) => {
      const parts = [
        ...(begin > 0 ? [pick(k, body, axis, begin, 'begin')] : []),
        body,
        ...(end > 0 ? [pick(k, body, axis, end, 'end')] : []),
      ]
      return k.concat(parts, axis)
    }, x)
}

function part(k: Kernels, x: Slot, axis: number, start: number, count: number): Slot {
  return k.slice(
    x,
    x.shape.map((_, i) => (i === axis ? start : 0)),
    x.shape.with(axis, count),
  )
}

const PADS: Readonly<Record<string, (context: WriterContext, x: Slot, paddings: Paddings) => Slot>> = {
  constant: (context, x, paddings) => {
    const value = context.inputs[2]
    const known = value ? (context.known(2)?.[0] ?? null) : 0
    if (known !== null) return context.k.pad(x, paddings, finite(known))
    // A border that depends on the data: where the padded ones are zero.
    const { k } = context
    const inside = k.pad(k.fill(x.shape, 1, 'float32'), paddings)
    return k.select(k.cast(inside, 'bool'), k.pad(x, paddings), k.onnx(value!))
  },
  reflect: copied((k, x, axis, count, side) => {
    const start = side === 'begin' ? 1 : x.shape[axis]! - 1 - count
    return k.reverse(part(k, x, axis, start, count), axis)
  }),
  edge: copied((k, x, axis, count, side) => {
    const edge = part(k, x, axis, side === 'begin' ? 0 : x.shape[axis]! - 1, 1)
    return k.broadcast(edge, edge.shape.with(axis, count))
  }),
  wrap: copied((k, x, axis, count, side) =>
    part(k, x, axis, side === 'begin' ? x.shape[axis]! - count : 0, count),
  ),
}

export const windowWriters: WriterTable = { Slice, Pad }
