/** What training makes small: the loss of a training graph as a scalar, the metrics beside it, and the targets it reads. */

import type { Builder } from '../ir/builder.ts'
import { Value } from '../ir/value.ts'
import type { StepInput } from '../runtime/program.ts'
import { sameShape } from '../tensor/shape.ts'
import { invariant } from '../util/errors.ts'
import { targetType, writeCorrect, writeLoss, type LossSpec } from './losses.ts'
import type { TrainingGraph } from './prepare.ts'

/** The loss of one trained output. */
export interface LossTerm {
  readonly loss: LossSpec
  /** Its share of the whole loss. */
  readonly weight: number
  /** The data's target that it is compared with; null: their only one. */
  readonly field: string | null
}

/** One loss for the only head; one for each head; null where the training graph ends in a loss of its own. */
export type ObjectiveSpec = LossSpec | readonly LossTerm[] | null

/** A step input that the data's target `field` feeds. */
export interface TargetInput extends StepInput {
  readonly field: string | null
}

/** An objective on the tape. */
export interface WrittenObjective {
  readonly loss: Value
  /** Scalars to be reported with each step, by name; `loss` is one of them. */
  readonly metrics: ReadonlyMap<string, Value>
  readonly targets: readonly { readonly field: string | null; readonly value: Value }[]
}

/** Writes loss and metrics of the graph's heads, or takes the loss that the graph ends in. */
export function writeObjective(op: Builder, training: TrainingGraph, spec: ObjectiveSpec): WrittenObjective {
  const { heads, ownLoss } = training
  if (ownLoss) return ownLoss.write(op, training.model.graph.outputs)
  invariant(spec, 'there is no loss')
  const terms = 'kind' in spec ? [{ loss: spec, weight: 1, field: null }] : spec
  invariant(terms.length === heads.length, `${terms.length} losses for ${heads.length} outputs`)
  const logits = training.model.graph.outputs
  return new Terms(op).write(
    terms.map((term, i) => ({ ...term, output: heads[i]!.output, logits: logits[i]! })),
  )
}

interface HeadTerm extends LossTerm {
  readonly output: string
  readonly logits: Value
}

class Terms {
  readonly #op: Builder
  readonly #targets: { readonly field: string | null; readonly value: Value }[] = []

  constructor(op: Builder) {
    this.#op = op
  }

  /** Σ weight · loss. Metrics of one head are `loss` and `correct`; of several also `loss/<output>`, `correct/<output>`. */
  write(terms: readonly HeadTerm[]): WrittenObjective {
    const metrics = new Map<string, Value>()
    const [first, ...others] = terms.map((term, i): Value => {
      const { output, logits } = term
      const target = this.#target(term)
      const loss = writeLoss(this.#op, term.loss, logits, target)
      const correct = writeCorrect(this.#op, term.loss, logits, target)
      if (terms.length > 1) metrics.set(`loss/${output}`, loss)
      if (correct) metrics.set(i === 0 ? 'correct' : `correct/${output}`, correct)
      return term.weight === 1 ? loss : this.#op.Mul(loss, this.#op.scalarLike(loss, term.weight))
    })
    const loss = others.reduce((sum, term) => this.#op.Add(sum, term), first!)
    return { loss, metrics: new Map([['loss', loss], ...metrics]), targets: this.#targets }
  }

  /** The input that a term compares with: heads that take a target in the same form share it. */
  #target({ loss, field, logits }: HeadTerm): Value {
    const { dtype, shape } = targetType(loss, logits)
    const known = this.#targets.find(
      target =>
        target.field === field && target.value.dtype === dtype && sameShape(target.value.shape, shape),
    )
    if (known) return known.value
    const name = field === null || /^\d+$/.test(field) ? 'target' : `target/${field}`
    const value = Value.typed(this.#op.uniqueName(name), dtype, shape)
    this.#targets.push({ field, value })
    return value
  }
}
