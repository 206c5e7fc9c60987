/** Activation functions that are not one kernel. */

import type { Kernels } from '../kernels.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterTable } from '../writer.ts'
import { combine, map } from './elementwise.ts'

const SELU_ALPHA = 1.67326319217681884765625
const SELU_GAMMA = 1.05070102214813232421875

const above = (k: Kernels, x: Slot, bound: number) => k.binary('Maximum', x, k.scalar(bound))
const below = (k: Kernels, x: Slot, bound: number) => k.binary('Minimum', x, k.scalar(bound))

/** max(x, 0) + negative(min(x, 0)), the shape of the Relu family. */
function rectifier(k: Kernels, x: Slot, negative: (part: Slot) => Slot): Slot {
  return k.add(k.unary('Relu', x), negative(below(k, x, 0)))
}

/** clip(alpha · x + beta, 0, 1). */
function hardSigmoid(k: Kernels, x: Slot, alpha: number, beta: number): Slot {
  return below(k, above(k, k.shift(k.scale(x, alpha), beta), 0), 1)
}

/** x · Φ(x). */
function gelu(k: Kernels, x: Slot): Slot {
  return k.mul(k.scale(x, 0.5), k.shift(k.unary('Erf', k.scale(x, Math.SQRT1_2)), 1))
}

/** x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). */
function geluTanh(k: Kernels, x: Slot): Slot {
  const root = Math.sqrt(2 / Math.PI)
  const inner = k.mul(x, k.shift(k.scale(k.unary('Square', x), 0.044715 * root), root))
  return k.mul(k.scale(x, 0.5), k.shift(k.unary('Tanh', inner), 1))
}

/** Bounds are inputs, absent or known or not. */
const Clip = writer(context => {
  const { k } = context
  const x = context.input(0)
  const bounds = [
    ['Maximum', context.inputs[1]],
    ['Minimum', context.inputs[2]],
  ] as const
  const y = bounds.reduce(
    (slot, [name, bound]) => (bound ? k.binary(name, slot, k.onnx(bound)) : slot),
    x.slot,
  )
  return y === x.slot ? x.alias() : context.give(y, { layout: x.home })
})

const PRelu = writer(context => {
  const { k } = context
  return combine(context, [context.input(0), context.input(1)], (x, slope) =>
    rectifier(k, x, part => k.mul(part, slope)),
  )
})

export const activationWriters: WriterTable = {
  Clip,
  PRelu,
  LeakyRelu: map((k, x, { node }) => k.unary('LeakyRelu', x, { alpha: node.float('alpha', 0.01) })),
  Elu: map((k, x, { node }) =>
    rectifier(k, x, part => k.scale(k.unary('Expm1', part), node.float('alpha', 1))),
  ),
  Celu: map((k, x, { node }) => {
    const alpha = node.float('alpha', 1)
    return rectifier(k, x, part => k.scale(k.unary('Expm1', k.scale(part, 1 / alpha)), alpha))
  }),
  Selu: map((k, x, { node }) => {
    const alpha = node.float('alpha', SELU_ALPHA)
    const y = rectifier(k, x, part => k.scale(k.unary('Expm1', part), alpha))
    return k.scale(y, node.float('gamma', SELU_GAMMA))
  }),
  HardSigmoid: map((k, x, { node }) => hardSigmoid(k, x, node.float('alpha', 0.2), node.float('beta', 0.5))),
  HardSwish: map((k, x) => k.mul(x, hardSigmoid(k, x, 1 / 6, 0.5))),
  Softsign: map((k, x) => k.div(x, k.shift(k.unary('Abs', x), 1))),
  Mish: map((k, x) => k.mul(x, k.unary('Tanh', k.unary('Softplus', x)))),
  Gelu: map((k, x, { node }) => (node.string('approximate', 'none') === 'tanh' ? geluTanh : gelu)(k, x)),
  ThresholdedRelu: map((k, x, { node }) => {
    const inside = k.binary('Greater', x, k.scalar(node.float('alpha', 1)))
    return k.select(inside, x, k.scalar(0))
  }),
}
