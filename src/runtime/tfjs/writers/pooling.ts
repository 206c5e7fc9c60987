/** Poolings and their gradients. */

import { windowOf, windowOver, type Window, type WindowAxis } from '../../../ops/window.ts'
import { averageMatrix } from '../../../ops/axis-matrix.ts'
import { InputError } from '../../../util/errors.ts'
import type { Held } from '../held.ts'
import { RESULT_SHAPE } from '../lowering.ts'
import { LOWEST, type Kernels } from '../kernels.ts'
import { channelsLast } from '../layout.ts'
import type { KernelAttributes, Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'
import { hasDilation } from './convolve.ts'
import {
  applyBorders,
  fitting,
  planar,
  planarSlot,
  undoBorders,
  windowSlices,
  type Fitting,
} from './windows.ts'

function poolWindowOf(context: WriterContext): Window {
  const kernel = context.node.ints('kernel_shape', undefined)
  if (!kernel) throw new InputError(`${context.node.label}: attribute kernel_shape is missing`)
  return planar(windowOver(context.node, context.input(0).shape, kernel))
}

function image(k: Kernels, value: Held): Slot {
  return planarSlot(k, k.in(value, channelsLast(value.rank)))
}

/** A result [N, i..., C], of the rank of input 0. */
function result(context: WriterContext, y: Slot): Held {
  const { rank } = context.input(0)
  const slot = rank === 3 ? context.k.reshape(y, [y.shape[0]!, ...y.shape.slice(2)]) : y
  return context.give(slot, { layout: channelsLast(rank) })
}

function attributesOf(window: Window, fit: Fitting): KernelAttributes {
  return {
    filterSize: window.map(axis => axis.kernel),
    strides: window.map(axis => axis.stride),
    pad: fit.padding,
    ...(window.length === 3 ? { dataFormat: 'NDHWC' } : {}),
  }
}

const suffix = (window: Window) => (window.length === 3 ? '3D' : '')

/** The kernels know no dilation: the largest over the kernel's offsets then. */
const MaxPool = writer(context => {
  const { k } = context
  const window = poolWindowOf(context)
  const x = image(k, context.input(0))
  if (hasDilation(window)) {
    return result(
      context,
      windowSlices(k, x, window, LOWEST).reduce((a, b) => k.binary('Maximum', a, b)),
    )
  }
  const fit = fitting(window)
  const body = applyBorders(k, x, fit.borders, LOWEST)
  return result(context, k.unary(`MaxPool${suffix(window)}`, body, attributesOf(window, fit)))
})

/** The kernel divides by the whole window, padding included; where fewer elements count, the quotient is put right. */
const AveragePool = writer(context => {
  const { k, node } = context
  const window = poolWindowOf(context)
  const x = image(k, context.input(0))
  const shares = sharesOf(k, window, node.int('count_include_pad', 0) !== 0)
  if (hasDilation(window)) {
    const slices = windowSlices(k, x, window, 0)
    const sum = slices.reduce((a, b) => k.add(a, b))
    const mean = k.scale(sum, 1 / slices.length)
    return result(context, shares ? k.mul(mean, shares) : mean)
  }
  const fit = fitting(window, false)
  const mean = k.unary(`AvgPool${suffix(window)}`, applyBorders(k, x, fit.borders), attributesOf(window, fit))
  return result(context, shares ? k.mul(mean, shares) : mean)
})

/** Elements of a window / elements that count, for each window: [o..., 1]. Null where it is one everywhere. */
function sharesOf(k: Kernels, window: Window, countIncludePad: boolean): Slot | null {
  const factors = window.map(axis => axisShares(axis, countIncludePad))
  if (factors.every(list => list.every(factor => factor === 1))) return null
  const table = factors.reduce<number[]>(
    (rows, list) => rows.flatMap(row => list.map(factor => row * factor)),
    [1],
  )
  return k.constant(table, [...window.map(axis => axis.output), 1], 'float32')
}

/** kernel / count of each window along an axis; a row of the pooling matrix holds 1 / count. */
function axisShares(axis: WindowAxis, countIncludePad: boolean): number[] {
  const { columns, data } = averageMatrix(axis, countIncludePad)
  return Array.from({ length: axis.output }, (_, o) => {
    const largest = Math.max(...data.subarray(o * columns, (o + 1) * columns))
    return largest * axis.kernel
  })
}

function globalPool(reduce: (k: Kernels, x: Slot, axes: readonly number[]) => Slot) {
  return writer(context => {
    const x = context.input(0)
    const axes = x.home.flatMap((axis, place) => (axis > 1 ? [place] : []))
    return context.give(reduce(context.k, x.slot, axes), { layout: x.home })
  })
}

/** Only where the backend's kernel gives ties to the first maximum (lowering.ts). */
const MaxPoolGrad = writer(context => {
  const { k, node } = context
  const [dy, x, y] = [context.input(0), context.input(1), context.input(2)]
  const window = planar(windowOf(node, x.shape, dy.shape))
  const fit = fitting(window)
  const inputs = {
    dy: image(k, dy),
    input: applyBorders(k, image(k, x), fit.borders, LOWEST),
    output: image(k, y),
  }
  const dx = k.call('MaxPoolGrad', inputs, attributesOf(window, fit))
  return result(context, undoBorders(k, dx, fit.borders))
})

/** The kernel reads no more than the shape of its `input`. */
const AveragePoolGrad = writer(context => {
  const { k, node } = context
  const dy = context.input(0)
  const window = planar(windowOf(node, node.ints(RESULT_SHAPE, []), dy.shape))
  const fit = fitting(window, false)
  const shares = sharesOf(k, window, node.int('count_include_pad', 0) !== 0)
  const slot = image(k, dy)
  const [n, c] = [slot.shape[0]!, slot.shape.at(-1)!]
  const inputs = {
    dy: shares ? k.mul(slot, shares) : slot,
    input: k.fill([n, ...fit.sizes, c], 0, 'float32'),
  }
  const dx = k.call(`AvgPool${suffix(window)}Grad`, inputs, attributesOf(window, fit))
  return result(context, undoBorders(k, dx, fit.borders))
})

export const poolingWriters: WriterTable = {
  MaxPool,
  AveragePool,
  GlobalAveragePool: globalPool((k, x, axes) => k.mean(x, axes)),
  GlobalMaxPool: globalPool((k, x, axes) => k.reduce('Max', x, axes)),
  'swa.composite.MaxPoolGrad': MaxPoolGrad,
  'swa.composite.AveragePoolGrad': AveragePoolGrad,
}
