/** Input gradients of convolutions for the CPU provider. */

import type { Value } from '../../../ir/value.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import { convInputGradByTranspose } from '../../../autodiff/lowering/convolution.ts'
import { spanOf, windowOf } from '../../../ops/window.ts'
import { isWinogradWindow, transposedAxes, winogradInputGrad, winogradShare } from './winograd.ts'

/**
 * Fewest channels on both sides for which Winograd beats the convolution; below, the transforms cost more than the
 * products save. Batch 16, 2 cores with AVX-512: 128 channels at 28x28 10.2 against 10.6 ms, 256 at 14x14 9.1 against
 * 13.8, 512 at 7x7 10.6 against 19.
 */
export const WINOGRAD_CHANNELS = 128
/** Largest share of multiplications at which Winograd is still worth its transforms. */
export const WINOGRAD_SHARE = 0.5

/** Picks the form by stride and shape. */
export const convInputGradForCpu: Lowering = context => {
  const { node, inputs } = context
  const [dy, w] = inputs as [Value, Value]
  const window = windowOf(node, node.output(0).shape, dy.shape)
  const group = node.int('group', 1)
  // ConvTranspose adds its columns up on one thread; at stride 2 the other forms need 1.8 times the multiplications.
  if (window.some(axis => axis.stride > 1)) return convInputGradByTranspose(context)
  const channels = Math.min(w.shape[0]!, w.shape[1]!)
  if (
    channels >= WINOGRAD_CHANNELS &&
    isWinogradWindow(window, group) &&
    winogradShare(transposedAxes(window)) <= WINOGRAD_SHARE
  ) {
    return [winogradInputGrad(context.op, dy, w, window)]
  }
  return convInputGradByFlippedConv(context)
}

/**
 * At stride 1, dx is the convolution of dy with the kernel turned around: w'[c, m, k] = w[m, c, −k], padded by
 * span − 1 − begin. About half the time of ConvTranspose (64 channels at 56x56: 11.3 against 19.7 ms).
 */
export const convInputGradByFlippedConv: Lowering = context => {
  const { op, node, inputs } = context
  const [dy, w] = inputs as [Value, Value]
  const dx = node.output(0).shape
  const window = windowOf(node, dx, dy.shape)
  const begins = window.map(axis => spanOf(axis) - 1 - axis.begin)
  const ends = window.map((axis, i) => axis.input - axis.output + spanOf(axis) - 1 - begins[i]!)
  // More padding than the kernel reaches: Conv takes no negative pads.
  if ([...begins, ...ends].some(pad => pad < 0)) return convInputGradByTranspose(context)

  const group = node.int('group', 1)
  const [m, c] = [w.shape[0]!, dx[1]!]
  const kernel = w.shape.slice(2)
  const turned = kernel.flatMap((size, i) => (size > 1 ? [i + 2] : []))
  const flipped =
    turned.length === 0
      ? w
      : op.Slice(
          w,
          turned.map(axis => w.shape[axis]! - 1),
          turned.map(axis => -w.shape[axis]! - 1),
          turned,
          turned.map(() => -1),
        )
  const spatial = kernel.map((_, i) => i + 3)
  const grouped = op.Reshape(flipped, [group, m / group, c / group, ...kernel])
  const weight = op.Reshape(op.Transpose(grouped, [0, 2, 1, ...spatial]), [c, m / group, ...kernel])
  const attributes = {
    kernel_shape: kernel,
    dilations: window.map(axis => axis.dilation),
    pads: [...begins, ...ends],
    group,
  }
  return [op.one('Conv', [dy, weight], { shape: dx }, attributes)]
}
