/** Gradients of Fourier transforms: linear maps, whose transposes are transforms of the other sign. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { UnsupportedError } from '../../util/errors.ts'
import { expanded, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'

/** The opsets from which on the node has its form. */
type DftVersion = 17 | 20

/** Up to opset 19 an attribute, afterwards an input; the last axis holds real and imaginary parts. */
const AXIS: Readonly<Record<DftVersion, (context: RuleContext) => number>> = {
  17: ({ node }) => node.int('axis', 1),
  20: context => (context.node.inputs[2] ? context.constant(2)[0]! : -2),
}

/**
 * y_k = Σ_t x_t · e^(−2πikt/N) has the adjoint dx_t = Σ_k dy_k · e^(2πikt/N) = N · IDFT(dy)_t; the inverse transform,
 * which divides by N, that of DFT(dy) / N. What a one-sided result leaves out has no gradient; of a real x only the real
 * part counts; elements that were cut off or added to come to N (dft_length) are added and cut off again.
 */
const dft =
  (version: DftVersion): GradientRule =>
  context => {
    const { op, node, dy } = context
    const x = node.input(0)
    const axis = normalizeAxis(AXIS[version](context), x.rank, node.label)
    const [given, parts] = [x.shape[axis]!, x.shape.at(-1)!]
    const length = node.inputs[1] ? context.constant(1)[0]! : given
    const inverse = node.int('inverse', 0) !== 0
    if (inverse && node.int('onesided', 0) !== 0) {
      throw new UnsupportedError(`${node.label}: onesided and inverse at once, expected one of them`)
    }
    const resized = (value: typeof x, size: number) => {
      const difference = size - value.shape[axis]!
      if (difference === 0) return value
      if (difference < 0) return op.Slice(value, [0], [size], [axis])
      const pads = new Array<number>(2 * x.rank).fill(0).with(x.rank + axis, difference)
      return op.Pad(value, pads)
    }
    const back = writeDft(op, version, resized(dy, length), axis, !inverse)
    const scaled = op.Mul(back, op.scalarLike(back, inverse ? 1 / length : length))
    const real = parts === 1 ? op.Slice(scaled, [0], [1], [x.rank - 1]) : scaled
    return node.inputs.map((_, i) => (i === 0 ? resized(real, given) : null))
  }

/** All N elements of an axis, [..., N, ..., 2]. */
function writeDft(op: Builder, version: DftVersion, x: Value, axis: number, inverse: boolean): Value {
  const attributes = { inverse: Number(inverse) }
  if (version === 17) return op.one('DFT', [x], { shape: x.shape }, { axis, ...attributes })
  const at = op.constant(Tensor.of('int64', [], [BigInt(axis)]))
  return op.one('DFT', [x, null, at], { shape: x.shape }, attributes)
}

export const spectralRules: RuleTable = {
  DFT: { versions: { 17: dft(17), 20: dft(20) } },
  STFT: expanded(EXPANSIONS.STFT),
}
