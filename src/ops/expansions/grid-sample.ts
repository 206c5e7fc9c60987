/** GridSample (ONNX: GridSample 22; opset 16 calls its modes bilinear and bicubic). */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { cubicPolynomials } from '../cubic.ts'
import type { Expansion } from '../expansion.ts'
import { channelRows, fromChannelRows, inside, isInside, samples, type Tap } from './sampling.ts'
import { choose } from '../choose.ts'

/** What PyTorch's grid_sample and ONNX Runtime's GridSample have for the cubic's free parameter. */
const CUBIC_A = -0.75

/** x [N, C, spatial...], grid [N, points..., spatial rank] with the last spatial axis first. */
export const gridSample: Expansion = (op, node) => {
  const [x, grid] = [node.input(0), node.input(1)]
  const [n, size] = [x.shape[0]!, x.shape.slice(2)]
  const interpolate = choose(node, 'mode', 'linear', MODES)
  const pad = choose(node, 'padding_mode', 'zeros', PADDINGS)
  const points = grid.shape.slice(1, -1)
  const count = sizeOf(points)
  const coordinates = op
    .Split(
      grid,
      size.map(() => 1),
      -1,
    )
    .toReversed()
  const axes = size.map((dim, axis) => {
    const at = denormalized(op, op.Reshape(coordinates[axis]!, [n, count]), dim, isAligned(node))
    const taps = interpolate(op, at).map(tap => pad(op, tap, dim, isAligned(node)))
    return {
      size: dim,
      taps: taps.map(tap => ({ ...tap, weight: tap.weight && op.Cast(tap.weight, x.dtype) })),
    }
  })
  const images = Array.from({ length: n }, (_, i) => BigInt(i * sizeOf(size)))
  const base = op.constant(Tensor.of('int64', [n, 1], images))
  const y = samples(op, channelRows(op, x), base, axes).reduce(op.Add)
  return fromChannelRows(op, y, n, points)
}

function isAligned(node: Node): boolean {
  return node.int('align_corners', 0) !== 0
}

/**
 * −1 and 1 are the centres of the first and the last element (align_corners), or the outer edges of those: rounded step by
 * step as PyTorch does it, since a point that falls on an element has a neighbour on one side or the other.
 */
function denormalized(op: Builder, at: Value, size: number, aligned: boolean): Value {
  const [one, half, length] = [1, 0.5, aligned ? size - 1 : size].map(k => op.scalarLike(at, k)) as [
    Value,
    Value,
    Value,
  ]
  const from = op.Add(at, one)
  return aligned ? op.Mul(op.Mul(from, half), length) : op.Mul(op.Sub(op.Mul(from, length), one), half)
}

/** A tap whose index is a whole number that may be outside. */
interface OpenTap {
  readonly index: Value
  readonly weight: Value | null
}

type Mode = (op: Builder, at: Value) => OpenTap[]

const nearest: Mode = (op, at) => [{ index: op.one('Round', [at], { shape: at.shape }), weight: null }]

/** Shares 1 − t and t of the two neighbours. */
const linear: Mode = (op, at) =>
  neighbours(op, at, 0, [
    [1, -1],
    [0, 1],
  ])

const cubic: Mode = (op, at) => neighbours(op, at, -1, cubicPolynomials(CUBIC_A))

/** Elements from ⌊at⌋ + first on, weighted by polynomials of t = at − ⌊at⌋ (the coefficient of t⁰ first). */
function neighbours(
  op: Builder,
  at: Value,
  first: number,
  weights: readonly (readonly number[])[],
): OpenTap[] {
  const low = op.Floor(at)
  const t = op.Sub(at, low)
  return weights.map((coefficients, k) => ({
    index: op.Add(low, op.scalarLike(at, first + k)),
    weight: polynomial(op, t, coefficients),
  }))
}

function polynomial(op: Builder, t: Value, coefficients: readonly number[]): Value {
  const [last, ...lower] = coefficients.toReversed().map(coefficient => op.scalarLike(t, coefficient))
  return lower.reduce((sum, coefficient) => op.Add(op.Mul(sum, t), coefficient), last!)
}

const MODES: Readonly<Record<string, Mode>> = { linear, bilinear: linear, nearest, cubic, bicubic: cubic }

type Padding = (op: Builder, tap: OpenTap, size: number, aligned: boolean) => Tap

const zeros: Padding = (op, { index, weight }, size) => {
  const held = isInside(op, index, size)
  return {
    index: inside(op, index, size),
    weight: weight ? op.Where(held, weight, op.scalarLike(weight, 0)) : op.Cast(held, index.dtype),
  }
}

const border: Padding = (op, { index, weight }, size) => ({ index: inside(op, index, size), weight })

/**
 * The axis mirrored at its ends without end: at the centres of its outer elements (0 1 2 1 0 ..., align_corners), or at
 * their edges (0 1 2 2 1 0 0 ...). One period has there 2·size − 2 or 2·size elements.
 */
const reflection: Padding = (op, { index, weight }, size, aligned) => {
  const period = aligned ? Math.max(1, 2 * size - 2) : 2 * size
  const [length, last] = [period, aligned ? period : period - 1].map(k => op.scalarLike(index, k)) as [
    Value,
    Value,
  ]
  const within = op.Sub(index, op.Mul(op.Floor(op.Div(index, length)), length))
  return { index: inside(op, op.Min(within, op.Sub(last, within)), size), weight }
}

const PADDINGS: Readonly<Record<string, Padding>> = { zeros, border, reflection }
