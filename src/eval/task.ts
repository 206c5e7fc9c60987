/** What a model is measured by: found from what its output applies last and from what the data hold as targets. */

import { mainTarget, type Dataset } from '../data/index.ts'
import type { Dim } from '../ir/value.ts'
import type { Activation } from '../passes/index.ts'
import { InputError } from '../util/errors.ts'
import type { OutputKind, Task } from './metrics.ts'

export interface Measure {
  readonly task: Task
  /** What the measured output holds. */
  readonly kind: OutputKind
}

/**
 * The task that model and data have in common: classes behind a Sigmoid or one output are yes-no decisions, classes
 * behind anything else are one of many, also where each pixel has one, and values are predicted as they are.
 *
 * @param shape of the model's output, batch first
 */
export function chooseTask(
  activation: Activation,
  shape: readonly Dim[] | null | undefined,
  dataset: Dataset,
): Task {
  if (activation === 'sigmoid') return 'multilabel'
  const { kind } = mainTarget(dataset)
  if (kind === 'multilabel') return 'multilabel'
  if (kind === 'values') return isLabelled(shape, dataset) ? 'classification' : 'regression'
  return isSingleOutput(shape) ? 'multilabel' : 'classification'
}

/** Whether targets [N,d...] go with outputs [N,C,d...]: a class for each pixel. */
export function isLabelled(shape: readonly Dim[] | null | undefined, dataset: Dataset): boolean {
  const { dims: own } = mainTarget(dataset)
  const [, classes, ...positions] = shape ?? []
  if (classes === undefined || classes === 1 || own.length === 0) return false
  return (
    positions.length === own.length && positions.every((dim, i) => typeof dim !== 'number' || dim === own[i])
  )
}

/** How the model's own output is to be read for a task. */
export function measureFor(task: Task, activation: Activation): Measure {
  if (task === 'regression') return { task, kind: 'values' }
  if (task === 'multilabel') return { task, kind: activation === 'sigmoid' ? 'sigmoid' : 'logits' }
  const kinds = {
    softmax: 'probabilities',
    log_softmax: 'log_probabilities',
    sigmoid: 'sigmoid',
    none: 'logits',
  } as const
  return { task, kind: kinds[activation] }
}

/** Whether a shape, batch first, holds one number for each sample. */
export function isSingleOutput(shape: readonly Dim[] | null | undefined): boolean {
  return shape?.slice(1).every(dim => dim === 1) ?? false
}

/** A classifier must know every class of the data. */
export function checkClasses(dataset: Dataset, outputs: number): void {
  const classes = dataset.classes?.length
  if (classes === undefined || classes <= outputs) return
  throw new InputError(`data: ${dataset.name} has ${classes} classes, the model has ${outputs} outputs`, {
    cure: 'leave out the classes that the model does not know, or use a model with as many outputs',
  })
}
