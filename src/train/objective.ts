/** What training makes small: the loss of a training graph as a scalar, the metrics beside it, and the targets it reads. */

import type { Builder } from '../ir/builder.ts'
import { Value } from '../ir/value.ts'
import { targetType, writeCorrect, writeLoss, type LossSpec } from './losses.ts'
import type { TrainingGraph } from './prepare.ts'

/** An objective on the tape. */
export interface WrittenObjective {
  readonly loss: Value
  /** Scalars to be reported with each step, by name; `loss` is one of them. */
  readonly metrics: ReadonlyMap<string, Value>
  /** What the data must feed as targets. */
  readonly target: Value
}

/** Writes loss and metrics of the graph's predictions. */
export function writeObjective(op: Builder, training: TrainingGraph, spec: LossSpec): WrittenObjective {
  const logits = training.model.graph.outputs[0]!
  const type = targetType(spec, logits)
  const target = Value.typed(op.uniqueName('target'), type.dtype, type.shape)
  const loss = writeLoss(op, spec, logits, target)
  const correct = writeCorrect(op, spec, logits, target)
  return {
    loss,
    metrics: new Map([['loss', loss], ...(correct ? [['correct', correct] as const] : [])]),
    target,
  }
}
