/** Convolutions and their gradients, from the convolutions of slots (convolve.ts). */

import { transposedWindowOver, windowOf, windowOver } from '../../../ops/window.ts'
import type { Held } from '../held.ts'
import { RESULT_SHAPE } from '../lowering.ts'
import { channelsLast, filterLayout } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'
import { convolve, convolveFilterGrad, convolveInputGrad } from './convolve.ts'
import { planar, planarSlot } from './windows.ts'

/** [N, C, i...] as [N, i..., C], with two spatial axes at least. */
function image(context: WriterContext, value: Held): Slot {
  return planarSlot(context.k, context.k.in(value, channelsLast(value.rank)))
}

/** [M, C, k...] as [k..., C, M], with two spatial axes at least. */
function filter(context: WriterContext, value: Held): Slot {
  const slot = context.k.in(value, filterLayout(value.rank))
  return value.rank === 3 ? context.k.reshape(slot, [1, ...slot.shape]) : slot
}

/** A result [N, i..., C] of the node, whose rank is that of `like`. */
function result(context: WriterContext, y: Slot, like: Held): Held {
  const { k } = context
  const slot = like.rank === 3 ? k.reshape(y, [y.shape[0]!, ...y.shape.slice(2)]) : y
  return context.give(slot, { layout: channelsLast(like.rank) })
}

const Conv = writer(context => {
  const { k, node } = context
  const [x, w, bias] = [context.input(0), context.input(1), context.inputs[2]]
  const window = planar(windowOver(node, x.shape, w.shape.slice(2)))
  const y = convolve(k, image(context, x), filter(context, w), { window, group: node.int('group', 1) })
  return result(context, bias ? k.add(y, k.onnx(bias)) : y, x)
})

/** The input gradient of the convolution that it transposes, whose weight is w as it is. */
const ConvTranspose = writer(context => {
  const { k, node } = context
  const [x, w, bias] = [context.input(0), context.input(1), context.inputs[2]]
  const window = planar(transposedWindowOver(node, x.shape, w.shape.slice(2)))
  const geometry = { window, group: node.int('group', 1) }
  const y = convolveInputGrad(k, image(context, x), filter(context, w), geometry)
  return result(context, bias ? k.add(y, k.onnx(bias)) : y, x)
})

const ConvInputGrad = writer(context => {
  const { k, node } = context
  const [dy, w] = [context.input(0), context.input(1)]
  const window = planar(windowOf(node, node.ints(RESULT_SHAPE, []), dy.shape))
  const geometry = { window, group: node.int('group', 1) }
  return result(context, convolveInputGrad(k, image(context, dy), filter(context, w), geometry), dy)
})

const ConvWeightGrad = writer(context => {
  const { k, node } = context
  const [x, dy] = [context.input(0), context.input(1)]
  const window = planar(windowOf(node, x.shape, dy.shape))
  const geometry = { window, group: node.int('group', 1) }
  const dw = convolveFilterGrad(k, image(context, x), image(context, dy), geometry)
  const slot = x.rank === 3 ? k.reshape(dw, dw.shape.slice(1)) : dw
  return context.give(slot, { layout: filterLayout(x.rank) })
})

export const convolutionWriters: WriterTable = {
  Conv,
  ConvTranspose,
  'swa.composite.ConvInputGrad': ConvInputGrad,
  'swa.composite.ConvWeightGrad': ConvWeightGrad,
}
