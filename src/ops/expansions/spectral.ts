/** Fourier transforms (ONNX: DFT 17 and 20, STFT 17) as products with a matrix of cosines and sines. */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { Expansion } from '../expansion.ts'
import { knownElements } from '../known.ts'

/** The matrix of a longer transform has more than 2^24 elements. */
const LONGEST = 2048

interface Transform {
  /** Elements that are transformed, of those given; further ones count as zeros. */
  readonly length: number
  readonly bins: number
  readonly inverse: boolean
}

/** x [..., n, 1 or 2] -> [..., bins, 2]: y_k = Σ_t x_t · e^(∓2πikt/length), the inverse divided by length. */
function transform(op: Builder, node: Node, x: Value, { length, bins, inverse }: Transform): Value {
  if (length > LONGEST) {
    throw new UnsupportedError(
      `${node.label}: transforms ${length} elements, on this engine at most ${LONGEST}`,
      { cure: 'train it with --engine cpu' },
    )
  }
  const [n, parts] = [x.shape.at(-2)!, x.shape.at(-1)!]
  const used = Math.min(n, length)
  const [sign, scale] = inverse ? [1, 1 / length] : [-1, 1]
  const elements = new Array<number>(n * parts * bins * 2)
  for (let t = 0, at = 0; t < n; t++) {
    for (let part = 0; part < parts; part++) {
      for (let k = 0; k < bins; k++) {
        // k · t modulo length first: sines of large angles lose digits.
        const angle = (sign * 2 * Math.PI * ((k * t) % length)) / length
        const [re, im] = t < used ? [scale * Math.cos(angle), scale * Math.sin(angle)] : [0, 0]
        elements[at++] = part === 0 ? re : -im
        elements[at++] = part === 0 ? im : re
      }
    }
  }
  const matrix = op.constant(Tensor.of(x.dtype, [n * parts, bins * 2], elements))
  const outer = x.shape.slice(0, -2)
  return op.Reshape(op.MatMul(op.Reshape(x, [...outer, n * parts]), matrix), [...outer, bins, 2])
}

function binsOf(length: number, onesided: boolean): number {
  return onesided ? Math.floor(length / 2) + 1 : length
}

/** The transformed axis: an attribute up to opset 19, an input afterwards. */
function axisOf(node: Node): number {
  const x = node.input(0)
  if (!node.inputs[2] && !node.attributes.has('axis') && x.rank > 3)
    throw new UnsupportedError(`${node.label}: names no axis, of which there are several`)
  return normalizeAxis(node.inputs[2] ? knownElements(node, 2)[0]! : node.int('axis', 1), x.rank, node.label)
}

export const dft: Expansion = (op, node) => {
  const x = node.input(0)
  const axis = axisOf(node)
  const length = node.inputs[1] ? knownElements(node, 1)[0]! : x.shape[axis]!
  const bins = binsOf(length, node.int('onesided', 0) !== 0)
  const last = x.rank - 2
  const swapped = x.shape.map((_, i) => (i === axis ? last : i === last ? axis : i))
  const moved = axis === last ? x : op.Transpose(x, swapped)
  const y = transform(op, node, moved, { length, bins, inverse: node.int('inverse', 0) !== 0 })
  return axis === last ? y : op.Transpose(y, swapped)
}

/** signal [B, L, 1 or 2] -> [B, frames, bins, 2]: every frame_step elements a frame, times the window, transformed. */
export const stft: Expansion = (op, node) => {
  const signal = node.input(0)
  const step = knownElements(node, 1)[0]!
  const window = node.inputs[2] ?? null
  const length = node.inputs[3] ? knownElements(node, 3)[0]! : window!.shape[0]!
  const count = Math.floor((signal.shape[1]! - length) / step) + 1
  const places = Array.from({ length: count * length }, (_, i) =>
    BigInt(Math.floor(i / length) * step + (i % length)),
  )
  const frames = op.Gather(signal, op.constant(Tensor.of('int64', [count, length], places)), 1)
  const windowed = window ? op.Mul(frames, op.Reshape(window, [length, 1])) : frames
  const bins = binsOf(length, node.int('onesided', 1) !== 0)
  return transform(op, node, windowed, { length, bins, inverse: false })
}
