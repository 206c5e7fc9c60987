/** Fourier transforms (ONNX: DFT 17 and 20, STFT 17). */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { Expansion } from '../expansion.ts'
import { knownElements } from '../known.ts'

/** The opsets from which on the node has its form. */
export type DftVersion = 17 | 20

export interface DftOptions {
  readonly axis: number
  readonly inverse?: boolean
  readonly onesided?: boolean
}

/** x [..., N, ..., 1 or 2] -> [..., N or ⌊N/2⌋+1, ..., 2] */
export function writeDft(
  op: Builder,
  version: DftVersion,
  x: Value,
  { axis, inverse = false, onesided = false }: DftOptions,
): Value {
  const length = x.shape[axis]!
  const shape = x.shape.with(axis, onesided ? Math.floor(length / 2) + 1 : length).with(-1, 2)
  const attributes = { inverse: Number(inverse), onesided: Number(onesided) }
  if (version === 17) return op.one('DFT', [x], { shape, dtype: x.dtype }, { axis, ...attributes })
  const at = op.constant(Tensor.of('int64', [], [BigInt(axis)]))
  return op.one('DFT', [x, null, at], { shape, dtype: x.dtype }, attributes)
}

/** signal [B, L, 1 or 2] -> [B, frames, bins, 2]: every frame_step elements a frame, times the window, transformed. */
export const stft =
  (version: DftVersion): Expansion =>
  (op, node) => {
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
    return writeDft(op, version, windowed, { axis: 2, onesided: node.int('onesided', 1) !== 0 })
  }
