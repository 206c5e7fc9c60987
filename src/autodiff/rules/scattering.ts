/** Gradients of ScatterElements and ScatterND in all their reductions. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis, sizeOf } from '../../tensor/shape.ts'
import { UnsupportedError } from '../../util/errors.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'
import { gate, zerosLike } from './common.ts'
import { flatPositions } from './indexing.ts'

/** y = data, but at `indices` along an axis reduced with `updates`; indices and updates have one shape. */
interface Scattered {
  readonly op: Builder
  readonly data: Value
  readonly indices: Value
  readonly updates: Value
  readonly axis: number
  readonly y: Value
  readonly dy: Value
}

/** The gradients by data and by updates, each written when it is asked for. */
interface ScatterGrad {
  readonly data: () => Value
  readonly updates: () => Value
}

/** What is in `values` where each update went. */
function gathered({ op, indices, axis }: Scattered, values: Value): Value {
  return op.GatherElements(values, indices, axis)
}

/** An update takes the place of an element. Of several at one place, the operator leaves open which stays. */
const none = (scattered: Scattered): ScatterGrad => {
  const { op, indices, updates, axis, dy } = scattered
  return {
    data: () => op.ScatterElements(dy, indices, zerosLike(op, updates), axis, 'none'),
    updates: () => gathered(scattered, dy),
  }
}

const add = (scattered: Scattered): ScatterGrad => ({
  data: () => scattered.dy,
  updates: () => gathered(scattered, scattered.dy),
})

/**
 * y = data · Π updates at a place. By an update: the product of the others. With p, the product of data and of the updates that
 * are not zero: p / update where no update is zero, p at the only zero, and 0 elsewhere.
 */
const mul = (scattered: Scattered): ScatterGrad => {
  const { op, data, indices, updates, axis, dy } = scattered
  return {
    data: () => {
      const ones = op.full(data.shape, 1, data.dtype)
      return op.Mul(dy, op.ScatterElements(ones, indices, updates, axis, 'mul'))
    },
    updates: () => {
      const zero = op.Equal(updates, op.scalarLike(updates, 0))
      const isZero = op.Cast(zero, updates.dtype)
      const nonzero = op.Where(zero, op.scalarLike(updates, 1), updates)
      const zeros = op.ScatterElements(zerosLike(op, data), indices, isZero, axis, 'add')
      const product = op.ScatterElements(data, indices, nonzero, axis, 'mul')
      const others = op.Div(gathered(scattered, op.Mul(dy, product)), nonzero)
      return gate(op, op.Equal(gathered(scattered, zeros), isZero), others)
    },
  }
}

/** Largest or smallest: those that tie share the gradient evenly, as PyTorch's scatter_reduce has it. */
const extremum = (scattered: Scattered): ScatterGrad => {
  const { op, data, indices, updates, axis, y, dy } = scattered
  const isData = op.Cast(op.Equal(data, y), data.dtype)
  const isUpdate = op.Cast(op.Equal(updates, gathered(scattered, y)), data.dtype)
  const share = op.Div(dy, op.ScatterElements(isData, indices, isUpdate, axis, 'add'))
  return {
    data: () => op.Mul(isData, share),
    updates: () => op.Mul(isUpdate, gathered(scattered, share)),
  }
}

const REDUCTIONS: Readonly<Record<string, (scattered: Scattered) => ScatterGrad>> = {
  none,
  add,
  mul,
  max: extremum,
  min: extremum,
}

function gradOf({ node }: RuleContext, scattered: Scattered): ScatterGrad {
  const name = node.string('reduction', 'none')
  const reduction = REDUCTIONS[name]
  if (reduction) return reduction(scattered)
  const known = Object.keys(REDUCTIONS).join(', ')
  throw new UnsupportedError(`gradient: ${node.label} has reduction ${name}, expected one of ${known}`)
}

const ScatterElements: GradientRule = context => {
  const { op, node, dy } = context
  const [data, indices, updates, y] = [node.input(0), node.input(1), node.input(2), node.output(0)]
  const axis = normalizeAxis(node.int('axis', 0), data.rank, node.label)
  const grad = gradOf(context, { op, data, indices, updates, axis, y, dy })
  return [context.needs(0) ? grad.data() : null, null, context.needs(2) ? grad.updates() : null]
}

/** Rows at flat positions: the last axis of indices addresses the first axes of data. */
const ScatterND: GradientRule = context => {
  const { op, node, dy } = context
  const [data, indices, updates] = [node.input(0), node.input(1), node.input(2)]
  const depth = indices.shape.at(-1)!
  const inner = sizeOf(data.shape.slice(depth))
  const count = sizeOf(indices.shape.slice(0, -1))
  const positions = flatPositions(op, op.Reshape(indices, [count, depth]), data.shape.slice(0, depth))
  const flat = (value: Value) => op.Reshape(value, [sizeOf(data.shape.slice(0, depth)), inner])
  const grad = gradOf(context, {
    op,
    data: flat(data),
    indices: op.Expand(positions, [count, inner]),
    updates: op.Reshape(updates, [count, inner]),
    axis: 0,
    y: flat(node.output(0)),
    dy: flat(dy),
  })
  return [
    context.needs(0) ? op.Reshape(grad.data(), data.shape) : null,
    null,
    context.needs(2) ? op.Reshape(grad.updates(), updates.shape) : null,
  ]
}

export const scatteringRules: RuleTable = {
  ScatterElements: rule(ScatterElements),
  ScatterND: rule(ScatterND),
}
