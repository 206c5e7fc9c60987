/** Which composites tfjs kernels compute themselves; the others become standard operators. */

import {
  COMPOSITE_LOWERINGS,
  type CompositeLowerings,
  type Lowering,
  type LoweringContext,
} from '../../autodiff/lowering/index.ts'
import { maxPoolGradByComparison } from '../../autodiff/lowering/pooling.ts'
import { windowOf, type Window } from '../../ops/window.ts'
import type { Backend } from './tf.ts'
import { hasDilation, hasEqualStrides, isDepthwise } from './writers/convolve.ts'
import { planar } from './writers/windows.ts'

/**
 * Backends whose MaxPoolGrad gives the gradient of ties to the first maximum of the window in row-major order, as PyTorch
 * does. WebGL's and WebGPU's compare with >= and give it to the last; so does the JavaScript backend's MaxPool3DGrad.
 */
const FIRST_MAXIMUM: ReadonlySet<string> = new Set(['cpu', 'tensorflow'])

/** The attribute by which a composite that is kept says the shape of its first output. */
export const RESULT_SHAPE = 'result_shape'

/** By the number of spatial axes. */
const CONV_INPUT: Readonly<Record<number, string>> = { 2: 'Conv2DBackpropInput', 3: 'Conv3DBackpropInputV2' }
const CONV_FILTER: Readonly<Record<number, string>> = {
  2: 'Conv2DBackpropFilter',
  3: 'Conv3DBackpropFilterV2',
}
const AVERAGE: Readonly<Record<number, string>> = { 2: 'AvgPoolGrad', 3: 'AvgPool3DGrad' }
const DEPTHWISE_INPUT = 'DepthwiseConv2dNativeBackpropInput'
const DEPTHWISE_FILTER = 'DepthwiseConv2dNativeBackpropFilter'

/** The kernel that computes a composite; none where the window is beyond its limits. */
type KernelOf = (window: Window, context: LoweringContext) => string | undefined

/** The rows for a backend. */
export function tfjsLowerings({ name, kernels }: Backend): CompositeLowerings {
  /** Keeps the composite where the backend has its kernel, else writes what `other` does. */
  const native =
    (
      windowOfComposite: (context: LoweringContext) => Window,
      kernelOf: KernelOf,
      other: Lowering,
    ): Lowering =>
    context => {
      const kernel = kernelOf(planar(windowOfComposite(context)), context)
      return kernel !== undefined && kernels.has(kernel) ? null : other(context)
    }

  return {
    ...COMPOSITE_LOWERINGS,
    ConvInputGrad: native(
      ({ node, inputs: [dy] }) => windowOf(node, node.output(0).shape, dy!.shape),
      (window, { node, inputs: [, w] }) => {
        const group = node.int('group', 1)
        const depthwise = isDepthwise(window, group, w!.shape[1]! * group)
        return depthwise ? DEPTHWISE_INPUT : CONV_INPUT[window.length]
      },
      COMPOSITE_LOWERINGS.ConvInputGrad,
    ),
    ConvWeightGrad: native(
      ({ node, inputs: [x, dy] }) => windowOf(node, x!.shape, dy!.shape),
      (window, { node, inputs: [x] }) => {
        if (hasDilation(window)) return undefined
        if (!isDepthwise(window, node.int('group', 1), x!.shape[1]!)) return CONV_FILTER[window.length]
        return hasEqualStrides(window) ? DEPTHWISE_FILTER : undefined
      },
      COMPOSITE_LOWERINGS.ConvWeightGrad,
    ),
    MaxPoolGrad: native(
      ({ node, inputs: [dy, x] }) => windowOf(node, x!.shape, dy!.shape),
      window =>
        FIRST_MAXIMUM.has(name) && window.length === 2 && !hasDilation(window) ? 'MaxPoolGrad' : undefined,
      maxPoolGradByComparison,
    ),
    AveragePoolGrad: native(
      ({ node, inputs: [dy] }) => windowOf(node, node.output(0).shape, dy!.shape),
      window => (hasDilation(window) ? undefined : AVERAGE[window.length]),
      COMPOSITE_LOWERINGS.AveragePoolGrad,
    ),
    // Nodes run in the order of the graph, and equal ones stay apart.
    After: ({ inputs }) => [inputs[0]!],
  }
}
