/** Gradients of the recurrent layers. Shapes and words: ops/recurrent.ts. */

import type { Builder } from '../../../ir/builder.ts'
import { Value } from '../../../ir/value.ts'
import { recurrentOf, type Recurrent, type RecurrentDirection } from '../../../ops/recurrent.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../../rule.ts'
import { gruGradients } from './gru.ts'
import { lstmGradients } from './lstm.ts'
import { Pass, type CellGradients } from './pass.ts'
import { rnnGradients } from './rnn.ts'

/** Inputs by their places: of all three, then of LSTM alone. */
const [X, W, R, B, LENS, INITIAL_H, INITIAL_C, P] = [0, 1, 2, 3, 4, 5, 6, 7] as const

type CellRule = (pass: Pass, context: RuleContext, of: (value: Value) => Value) => CellGradients

/** A rule from the gradients of one direction's cell; `of` takes the part of that direction from a value. */
function recurrent(cell: CellRule): GradientRule {
  return context => {
    const { op, node } = context
    const layer = recurrentOf(node)
    const y = hiddenStates(op, context, layer)
    const x = op.Reshape(node.input(X), [layer.steps * layer.batch, layer.inputs])
    const mask = sequenceMask(op, node.inputs[LENS] ?? null, layer, y)
    const found = layer.directions.map(direction => {
      const pass = passOf(context, layer, direction, { x, y, mask })
      return { pass, gradients: cell(pass, context, value => partOf(op, value, 0, direction.index)) }
    })
    return node.inputs.map((_, index) => {
      if (!context.needs(index)) return null
      const parts = found.map(({ pass, gradients }) => byInput(op, index, pass, gradients))
      if (index === X) return op.Reshape(parts.reduce(op.Add), node.input(X).shape)
      const whole = parts.map(part => op.Reshape(part, [1, ...node.input(index).shape.slice(1)]))
      return op.Concat(whole, 0)
    })
  }
}

/** The gradient of one direction's part of input `index`. */
function byInput(op: Builder, index: number, pass: Pass, gradients: CellGradients): Value {
  const { input, recurrent } = gradients
  const sumOf = (rows: Value) => op.ReduceSum(rows, [0], false)
  switch (index) {
    case X:
      return op.Gemm(input, pass.inputs.weights.w)
    case W:
      return op.Gemm(input, pass.inputs.x, { transA: true })
    case R:
      return op.Concat(
        recurrent.map(({ gradient, h }) => op.Gemm(gradient, h, { transA: true })),
        0,
      )
    case B:
      return op.Concat([sumOf(input), ...recurrent.map(({ gradient }) => sumOf(gradient))], 0)
    case INITIAL_H:
      return gradients.initialH
    case INITIAL_C:
      return gradients.initialC!
    default:
      return gradients.peephole!
  }
}

/** The output Y, asked for where nobody else does. */
function hiddenStates(op: Builder, { node }: RuleContext, layer: Recurrent): Value {
  const there = node.outputs[0]
  if (there) return there
  const { dtype } = node.input(X)
  const { steps, batch, hidden, directions } = layer
  const name = op.uniqueName(`${node.name || node.outputs.find(output => output)!.name}/Y`)
  const y = Value.typed(name, dtype, [steps, directions.length, batch, hidden])
  y.producer = node
  node.outputs[0] = y
  return y
}

/** Ones for steps inside a sequence, zeros behind its end: [T·B, 1]. */
function sequenceMask(op: Builder, lengths: Value | null, layer: Recurrent, y: Value): Value | null {
  if (!lengths) return null
  const { steps, batch } = layer
  const times = Array.from({ length: steps }, (_, t) => t)
  const inside = op.Less(op.int32s([steps, 1], times), op.Reshape(lengths, [1, batch]))
  return op.Reshape(op.Cast(inside, y.dtype), [steps * batch, 1])
}

/** The part of one direction on the axis D. */
function partOf(op: Builder, value: Value, axis: number, index: number): Value {
  const shape = value.shape.filter((_, i) => i !== axis)
  const part = value.shape[axis] === 1 ? value : op.Slice(value, [index], [index + 1], [axis])
  return op.Reshape(part, shape)
}

function passOf(
  { op, node, grads }: RuleContext,
  layer: Recurrent,
  direction: RecurrentDirection,
  shared: { x: Value; y: Value; mask: Value | null },
): Pass {
  const { hidden, steps, batch } = layer
  const { x, mask } = shared
  const of = (value: Value | null | undefined) => (value ? partOf(op, value, 0, direction.index) : null)
  const rows = (value: Value) => op.Reshape(partOf(op, value, 1, direction.index), [steps * batch, hidden])
  const bias = of(node.inputs[B])
  const [wb, rb] = bias ? op.Split(bias, [bias.shape[0]! / 2, bias.shape[0]! / 2], 0) : [null, null]
  const dy = grads[0] ? rows(grads[0]) : null
  return new Pass(op, layer, direction, {
    weights: { w: of(node.input(W))!, r: of(node.input(R))!, wb: wb ?? null, rb: rb ?? null },
    ...{ x, mask, y: rows(shared.y), initialH: of(node.inputs[INITIAL_H]) },
    ...{ dy: dy && mask ? op.Mul(dy, mask) : dy, dyh: of(grads[1]) },
  })
}

const LSTM = recurrent((pass, { node, grads }, of) => {
  const part = (value: Value | null | undefined) => (value ? of(value) : null)
  return lstmGradients(pass, {
    initialC: part(node.inputs[INITIAL_C]),
    peephole: part(node.inputs[P]),
    dyc: part(grads[2]),
  })
})

const GRU = recurrent((pass, { node }) => gruGradients(pass, node.int('linear_before_reset', 0) !== 0))

const RNN = recurrent(pass => rnnGradients(pass))

export const recurrentRules: RuleTable = { LSTM: rule(LSTM), GRU: rule(GRU), RNN: rule(RNN) }
