/**
 * Recurrent layers step by step, in standard operators: for engines without their kernels. Words and shapes are those of
 * ops/recurrent.ts.
 */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import type { CellActivation } from '../../ops/cell-activations.ts'
import { recurrentOf, type Recurrent, type RecurrentDirection } from '../../ops/recurrent.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'

/** What one step of a direction reads. */
interface Cell {
  readonly op: Builder
  readonly hidden: number
  readonly functions: readonly CellActivation[]
  /** Cuts pre-activations to [−clip, clip]. */
  readonly cut: (x: Value) => Value
  /** [G·H, H] */
  readonly r: Value
  /** [G·H]; null where the node has no bias. */
  readonly rb: Value | null
  /** [3·H]; null where there are no peepholes. */
  readonly peephole: Value | null
  readonly linearBeforeReset: boolean
}

interface State {
  /** [B, H] */
  readonly h: Value
  /** The cell state of an LSTM; of other layers h once more. */
  readonly c: Value
}

/** The state after a step whose projected input X Wᵀ + Wb is `x`, [B, G·H]. */
type Step = (cell: Cell, x: Value, state: State) => State

const parts = ({ op, hidden }: Cell, x: Value, count: number) =>
  op.Split(x, new Array<number>(count).fill(hidden), x.rank - 1)

function activate({ op, functions, cut }: Cell, index: number, x: Value): Value {
  return functions[index]!.value(op, cut(x))
}

/** h R' (+ c) (+ Rb), for rows of R. */
function product({ op }: Cell, h: Value, r: Value, rb: Value | null, c: Value | null): Value {
  const y = op.Gemm(h, r, { transB: true, ...(c ? { c } : {}) })
  return rb ? op.Add(y, rb) : y
}

/** Gates in the order i, o, f, c. */
const lstm: Step = (cell, x, { h, c }) => {
  const { op, functions, peephole } = cell
  const [ai, ao, af, ac] = parts(cell, product(cell, h, cell.r, cell.rb, x), 4) as [
    Value,
    Value,
    Value,
    Value,
  ]
  const [pi, po, pf] = peephole ? parts(cell, peephole, 3) : []
  const peeped = (a: Value, p: Value | undefined, state: Value) => (p ? op.Add(a, op.Mul(p, state)) : a)
  const input = activate(cell, 0, peeped(ai, pi, c))
  const forget = activate(cell, 0, peeped(af, pf, c))
  const next = op.Add(op.Mul(forget, c), op.Mul(input, activate(cell, 1, ac)))
  const output = activate(cell, 0, peeped(ao, po, next))
  return { h: op.Mul(output, functions[2]!.value(op, next)), c: next }
}

/** Gates in the order z, r, h. */
const gru: Step = (cell, x, { h }) => {
  const { op, hidden } = cell
  const rows = (value: Value) => op.Split(value, [2 * hidden, hidden], value.rank - 1) as [Value, Value]
  const [ra, rh] = op.Split(cell.r, [2 * hidden, hidden], 0) as [Value, Value]
  const [ba, bh] = cell.rb ? rows(cell.rb) : [null, null]
  const [xa, xh] = rows(x)
  const [z, r] = parts(cell, activate(cell, 0, product(cell, h, ra, ba, xa)), 2) as [Value, Value]
  const inner = cell.linearBeforeReset
    ? op.Add(xh, op.Mul(r, product(cell, h, rh, bh, null)))
    : product(cell, op.Mul(r, h), rh, bh, xh)
  const candidate = activate(cell, 1, inner)
  const next = op.Add(candidate, op.Mul(z, op.Sub(h, candidate)))
  return { h: next, c: next }
}

const rnn: Step = (cell, x, { h }) => {
  const next = activate(cell, 0, product(cell, h, cell.r, cell.rb, x))
  return { h: next, c: next }
}

interface DirectionResult extends State {
  /** The hidden state of each step, zero behind the end of a sequence; in the order of time. */
  readonly states: readonly Value[]
}

function run(
  op: Builder,
  node: Node,
  step: Step,
  layer: Recurrent,
  direction: RecurrentDirection,
): DirectionResult {
  const { steps, batch, inputs, hidden, clip } = layer
  const part = (index: number) => {
    const value = node.inputs[index]
    if (!value) return null
    const of = value.shape[0] === 1 ? value : op.Slice(value, [direction.index], [direction.index + 1], [0])
    return op.Reshape(of, value.shape.slice(1))
  }
  const bias = part(3)
  const [wb, rb] = bias ? op.Split(bias, [bias.shape[0]! / 2, bias.shape[0]! / 2], 0) : [null, null]
  const rows = op.Reshape(node.input(0), [steps * batch, inputs])
  const projected = op.Gemm(rows, part(1)!, { transB: true, ...(wb ? { c: wb } : {}) })
  const byStep = op.Split(projected, new Array<number>(steps).fill(batch), 0)
  const cell: Cell = {
    ...{ op, hidden, functions: direction.activations, r: part(2)!, rb: rb ?? null },
    cut: x =>
      clip === null
        ? x
        : op.one('Clip', [x, op.scalarLike(x, -clip), op.scalarLike(x, clip)], { shape: x.shape }),
    peephole: node.opType === 'LSTM' ? part(7) : null,
    linearBeforeReset: node.int('linear_before_reset', 0) !== 0,
  }
  const zeros = op.full([batch, hidden], 0, node.input(0).dtype)
  const h = part(5) ?? zeros
  let state: State = { h, c: node.opType === 'LSTM' ? (part(6) ?? zeros) : h }
  const lengths = node.inputs[4]
  const states = new Array<Value>(steps)
  const order = byStep.map((_, t) => (direction.reverse ? steps - 1 - t : t))
  for (const t of order) {
    const next = step(cell, byStep[t]!, state)
    if (!lengths) {
      state = next
      states[t] = next.h
      continue
    }
    const inside = op.Greater(op.Reshape(lengths, [batch, 1]), op.int32s([1, 1], [t]))
    state = { h: op.Where(inside, next.h, state.h), c: op.Where(inside, next.c, state.c) }
    states[t] = op.Where(inside, next.h, zeros)
  }
  return { ...state, states }
}

const unrolled =
  (step: Step): NodeForm =>
  (op, node, reads) => {
    const layer = recurrentOf(node)
    const { steps, batch, hidden, directions } = layer
    const found = directions.map(direction => run(op, node, step, layer, direction))
    const shape = [1, batch, hidden]
    const last = (of: (result: DirectionResult) => Value) =>
      op.Concat(
        found.map(result => op.Reshape(of(result), shape)),
        0,
      )
    const whole = () =>
      op.Reshape(
        op.Concat(
          Array.from({ length: steps }, (_, t) =>
            found.map(({ states }) => op.Reshape(states[t]!, shape)),
          ).flat(),
          0,
        ),
        [steps, directions.length, batch, hidden],
      )
    return [
      reads(0) ? whole() : null,
      reads(1) ? last(({ h }) => h) : null,
      reads(2) ? last(({ c }) => c) : null,
    ]
  }

export const RECURRENT_STEPS: NodeForms = {
  LSTM: [unrolled(lstm)],
  GRU: [unrolled(gru)],
  RNN: [unrolled(rnn)],
}
