/** Gradients of operators that move, copy or drop elements: each is the transpose of a selection. */

import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { UnsupportedError } from '../../util/errors.ts'
import { constantTensor } from '../context.ts'
import { broadcasting, expanded, rule, type GradientRule, type RuleTable } from '../rule.ts'
import { range } from './common.ts'

/** The output has the input's elements in the same order. Further inputs (shape, axes) have no gradient. */
const sameElements: GradientRule = ({ op, node, dy }) => [
  op.Reshape(dy, node.input(0).shape),
  ...node.inputs.slice(1).map(() => null),
]

const Cast: GradientRule = ({ op, node, dy }) => [op.Cast(dy, node.input(0).dtype)]

const Transpose: GradientRule = ({ op, node, dy }) => {
  const perm = node.ints('perm', range(dy.rank).reverse())
  const inverse = perm.map((_, axis) => perm.indexOf(axis))
  return [op.Transpose(dy, inverse)]
}

/** Training-mode dropout is a multiplication by a mask before differentiation; what is left is the identity. */
const Dropout: GradientRule = ({ node, dy }) => {
  const [, ratio, mode] = node.inputs
  const training = mode ? constantTensor(mode)?.toNumbers()[0] !== 0 : false
  const dropsNothing = ratio ? constantTensor(ratio)?.toNumbers()[0] === 0 : false
  if (training && !dropsNothing) {
    throw new UnsupportedError(`gradient: ${node.label} is in training mode, expected inference mode`)
  }
  return [dy, ...node.inputs.slice(1).map(() => null)]
}

/** Pieces for all wanted operands by one Split, or by one Slice where a single operand is wanted. */
const Concat: GradientRule = context => {
  const { op, node, dy } = context
  const axis = normalizeAxis(node.int('axis', 0), dy.rank, node.label)
  const sizes = node.inputs.map((_, i) => node.input(i).shape[axis]!)
  const wanted = node.inputs.flatMap((_, i) => (context.needs(i) ? [i] : []))
  if (wanted.length > 1) {
    return op.Split(dy, sizes, axis).map((piece, i) => (context.needs(i) ? piece : null))
  }
  return sizes.map((size, i) => {
    if (!context.needs(i)) return null
    const start = sizes.slice(0, i).reduce((sum, before) => sum + before, 0)
    return size === dy.shape[axis] ? dy : op.Slice(dy, [start], [start + size], [axis])
  })
}

/** Pieces that nobody needs, absent ones among them, are zeros. */
const Split: GradientRule = context => {
  const { op, node, grads } = context
  const x = node.input(0)
  const axis = normalizeAxis(node.int('axis', 0), x.rank, node.label)
  const dim = x.shape[axis]!
  const even = Math.ceil(dim / node.outputs.length)
  const sizes = node.inputs[1]
    ? context.constant(1)
    : node.outputs.map((_, i) => Math.max(0, Math.min(even, dim - i * even)))
  const pieces = sizes.map((size, i) => grads[i] ?? op.full(x.shape.with(axis, size), 0, x.dtype))
  return [op.Concat(pieces, axis), null]
}

const Tile: GradientRule = context => {
  const { op, node, dy } = context
  const { shape } = node.input(0)
  const repeats = context.constant(1)
  // [r0·d0, r1·d1, ...] is [r0, d0, r1, d1, ...]: sum over the even axes that repeat something.
  const apart = op.Reshape(
    dy,
    shape.flatMap((dim, i) => [repeats[i]!, dim]),
  )
  const axes = repeats.flatMap((count, i) => (count === 1 ? [] : [2 * i]))
  return [op.Reshape(op.ReduceSum(apart, axes), shape), null]
}

/** Below the k-th diagonal or above it, zeros; the same zeros fall on the gradient. */
const Trilu: GradientRule = ({ op, node, dy }) => [
  op.one('Trilu', [dy, ...node.inputs.slice(1)], { shape: dy.shape }, { upper: node.int('upper', 1) }),
  null,
]

/** The inverse permutation, by way of [N, C', b, b, H, W] (column-row-depth mode: the block axes are last in C). */
const DepthToSpace: GradientRule = ({ op, node, dy }) => {
  const { shape } = node.input(0)
  const [n, c, h, w] = [shape[0]!, shape[1]!, shape[2]!, shape[3]!]
  const b = node.int('blocksize', 1)
  const depth = c / (b * b)
  const blocks = op.Reshape(dy, [n, depth, h, b, w, b])
  const perm = node.string('mode', 'DCR') === 'CRD' ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4]
  return [op.Reshape(op.Transpose(blocks, perm), shape)]
}

const SpaceToDepth: GradientRule = ({ op, node, dy }) => [
  op.one(
    'DepthToSpace',
    [dy],
    { shape: node.input(0).shape },
    { blocksize: node.int('blocksize', 1), mode: 'DCR' },
  ),
]

/** Running the sum from the other end. */
const CumSum: GradientRule = ({ op, node, dy }) => {
  const attributes = { exclusive: node.int('exclusive', 0), reverse: 1 - node.int('reverse', 0) }
  return [op.one('CumSum', [dy, node.input(1)], { shape: dy.shape }, attributes), null]
}

/** The same elements once more in the opposite order. */
const ReverseSequence: GradientRule = ({ op, node, dy }) => {
  const [time, batch] = [node.int('time_axis', 0), node.int('batch_axis', 1)]
  const attributes = { time_axis: time, batch_axis: batch }
  return [op.one('ReverseSequence', [dy, node.input(1)], { shape: dy.shape }, attributes), null]
}

export const movementRules: RuleTable = {
  Identity: rule(({ dy }) => [dy]),
  Cast: rule(Cast),
  // The second operand gives only its element type.
  CastLike: rule(context => [context.needs(0) ? Cast(context)[0]! : null, null]),
  Dropout: rule(Dropout),
  Reshape: rule(sameElements),
  Flatten: rule(sameElements),
  Squeeze: rule(sameElements),
  Unsqueeze: rule(sameElements),
  Transpose: rule(Transpose),
  Expand: broadcasting(({ dy }) => [dy, null]),
  Tile: rule(Tile),
  Concat: rule(Concat),
  Split: rule(Split),
  Trilu: rule(Trilu),
  DepthToSpace: rule(DepthToSpace),
  SpaceToDepth: rule(SpaceToDepth),
  CumSum: rule(CumSum),
  ReverseSequence: rule(ReverseSequence),
  Compress: expanded(EXPANSIONS.Compress),
}
