/**
 * One direction of a recurrent layer, as its gradient sees it: matrices whose rows are all samples of all time steps, in
 * the order of time.
 *
 * The forward node stays the fused operator. Its output Y holds every hidden state, so that the gates of all steps are
 * computed again by a few large products, not step by step; only what depends on the next step's gradient is unrolled.
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { CellActivation } from '../../../ops/cell-activations.ts'
import type { Recurrent, RecurrentDirection } from '../../../ops/recurrent.ts'

/** The weights of one direction; G gates of H units. */
export interface CellWeights {
  /** [G·H, I] */
  readonly w: Value
  /** [G·H, H] */
  readonly r: Value
  /** [G·H] each; null where the node has no bias. */
  readonly wb: Value | null
  readonly rb: Value | null
}

/** What comes from outside and what arrived; states are [B, H]. */
export interface PassInputs {
  readonly weights: CellWeights
  /** [T·B, I] */
  readonly x: Value
  /** The hidden state that each step left, [T·B, H]; zero behind the end of a sequence. */
  readonly y: Value
  readonly initialH: Value | null
  /** Whether each step is inside its sample's sequence, [T·B, 1] of ones and zeros; null where all are. */
  readonly mask: Value | null
  /** The gradient of y, [T·B, H]; zero behind the end of a sequence. */
  readonly dy: Value | null
  /** The gradient of the last hidden state. */
  readonly dyh: Value | null
}

/** A part of the recurrent product: rows of R that read `h`. */
export interface RecurrentPart {
  /** [T·B, rows] */
  readonly gradient: Value
  /** [T·B, H] */
  readonly h: Value
}

/** Gradients of one direction by what its cell computes. */
export interface CellGradients {
  /** Of X Wᵀ + Wb, [T·B, G·H]. */
  readonly input: Value
  /** Of the recurrent products, by the rows of R in order. */
  readonly recurrent: readonly RecurrentPart[]
  /** Of the initial states, [B, H]. */
  readonly initialH: Value
  readonly initialC?: Value
  /** Of the peephole weights, [3·H]. */
  readonly peephole?: Value
}

export class Pass {
  readonly op: Builder
  readonly layer: Recurrent
  readonly direction: RecurrentDirection
  readonly inputs: PassInputs
  /** The hidden state that each step began with, [T·B, H]. */
  readonly before: Value

  constructor(op: Builder, layer: Recurrent, direction: RecurrentDirection, inputs: PassInputs) {
    this.op = op
    this.layer = layer
    this.direction = direction
    this.inputs = inputs
    this.before = this.#hiddenBefore()
  }

  /** Time steps in the order in which they are computed. */
  get order(): number[] {
    const steps = Array.from({ length: this.layer.steps }, (_, t) => t)
    return this.direction.reverse ? steps.reverse() : steps
  }

  activation(index: number): CellActivation {
    return this.direction.activations[index]!
  }

  zeros(): Value {
    return this.op.full([this.layer.batch, this.layer.hidden], 0, this.inputs.y.dtype)
  }

  /** The rows of each time step. */
  steps(all: Value): Value[] {
    return this.op.Split(all, new Array<number>(this.layer.steps).fill(this.layer.batch), 0)
  }

  /** Rows of all time steps. */
  join(steps: readonly Value[]): Value {
    return this.op.Concat(steps, 0)
  }

  /** The matrix that each step began with, where it left `after` and the first one began with `initial`. */
  shifted(after: readonly Value[], initial: Value): Value {
    return this.join(this.direction.reverse ? [...after.slice(1), initial] : [initial, ...after.slice(0, -1)])
  }

  /** One column block a gate. */
  gates(all: Value): Value[] {
    const { hidden } = this.layer
    return this.op.Split(all, new Array<number>(all.shape[1]! / hidden).fill(hidden), 1)
  }

  /** X Wᵀ + Wb. */
  projected(): Value {
    const { weights, x } = this.inputs
    return this.op.Gemm(x, weights.w, { transB: true, ...(weights.wb ? { c: weights.wb } : {}) })
  }

  /** Pre-activations as the cell's functions get them. */
  cut(x: Value): Value {
    const { clip } = this.layer
    if (clip === null) return x
    const bounds = [-clip, clip].map(bound => this.op.scalarLike(x, bound))
    return this.op.one('Clip', [x, ...bounds], { shape: x.shape })
  }

  /** The slope of `activation(cut(x))` at x, where y is its value. */
  slope(activation: CellActivation, x: Value, y: Value): Value {
    const { op } = this
    const { clip } = this.layer
    if (clip === null) return activation.slope(op, x, y)
    const inside = op.Less(op.Abs(x), op.scalarLike(x, clip))
    return op.Where(inside, activation.slope(op, this.cut(x), y), op.scalarLike(x, 0))
  }

  /** Coefficients of steps behind the end of a sequence: `outside` (0 or 1) in the place of what was computed. */
  masked(all: Value, outside: 0 | 1 = 0): Value {
    const { mask } = this.inputs
    if (!mask) return all
    const kept = this.op.Mul(all, mask)
    return outside === 0 ? kept : this.op.Add(kept, this.op.Sub(this.op.scalarLike(mask, 1), mask))
  }

  /**
   * Walks back through time. `step` gives the gradient of the hidden state that the step began with, but for what comes
   * from y: it is handed that to add it in, so that it can be the addend of a product.
   */
  back(step: (t: number, dh: Value, add: Value | null) => Value): Value {
    const { op } = this
    const { dy, dyh, mask } = this.inputs
    const fromY = dy ? this.steps(dy) : null
    const outside = mask ? this.steps(op.Sub(op.scalarLike(mask, 1), mask)) : null
    const order = this.order.reverse()
    const first = fromY?.[order[0]!] ?? null
    let dh = first && dyh ? op.Add(first, dyh) : (first ?? dyh ?? this.zeros())
    order.forEach((t, i) => {
      let add = fromY?.[order[i + 1] ?? -1] ?? null
      if (outside) {
        const passing = op.Mul(dh, outside[t]!)
        add = add ? op.Add(add, passing) : passing
      }
      dh = step(t, dh, add)
    })
    return dh
  }

  /** A · B' (+ c). */
  product(a: Value, b: Value, c: Value | null): Value {
    return this.op.Gemm(a, b, c ? { c } : {})
  }

  #hiddenBefore(): Value {
    const { op } = this
    const { steps, batch } = this.layer
    const { y, initialH, mask } = this.inputs
    const first = initialH ?? this.zeros()
    if (steps === 1) return first
    const { reverse } = this.direction
    const rows = (all: Value) =>
      op.Slice(all, [reverse ? batch : 0], [(reverse ? steps : steps - 1) * batch], [0])
    const rest = rows(y)
    if (!reverse) return op.Concat([first, rest], 0)
    if (!mask || !initialH) return op.Concat([rest, first], 0)
    // A sequence that ends early begins, in reverse, inside: with the initial state, where y has zeros.
    const outside = op.Reshape(op.Sub(op.scalarLike(mask, 1), rows(mask)), [steps - 1, batch, 1])
    const begun = op.Add(rest, op.Reshape(op.Mul(outside, initialH), rest.shape))
    return op.Concat([begun, first], 0)
  }
}
