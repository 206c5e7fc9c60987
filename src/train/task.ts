/** Which loss fits a model and its data, how targets are brought into its form, and how the result is measured. */

import { mainTarget, type Dataset } from '../data/index.ts'
import { checkClasses, chooseTask, isLabelled, measureFor, type Measure } from '../eval/task.ts'
import type { Value } from '../ir/value.ts'
import type { Activation } from '../passes/index.ts'
import type { StepInput } from '../runtime/program.ts'
import { formatShape, sameShape, sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import type { LossKind, LossSpec } from './losses.ts'

export interface LossChoice {
  readonly loss: LossKind | 'auto'
  readonly labelSmoothing: number
  readonly ignoreIndex: number
}

/** What the logits are, for choosing a loss. */
export interface LogitsInfo {
  readonly logits: Value
  readonly activation: Activation
  /** The axis of a trailing Softmax; null without one. */
  readonly activationAxis: number | null
}

/** The loss for a data set: cross-entropy for classes, binary cross-entropy behind a Sigmoid, squared error for values. */
export function chooseLoss(choice: LossChoice, info: LogitsInfo, dataset: Dataset): LossSpec {
  const kind = choice.loss === 'auto' ? defaultLoss(info, dataset) : choice.loss
  if (kind !== 'cross-entropy') return { kind }
  const { logits, activationAxis } = info
  const axis =
    activationAxis === null ? 1 : activationAxis < 0 ? activationAxis + logits.rank : activationAxis
  checkOutputs(logits, axis, dataset)
  const { labelSmoothing, ignoreIndex } = choice
  const labelled = mainTarget(dataset).kind === 'class' || isLabelled(logits.shape, dataset)
  const targets = labelled ? 'labels' : 'probabilities'
  return { kind, axis, targets, labelSmoothing, ...(targets === 'labels' ? { ignoreIndex } : {}) }
}

function defaultLoss({ logits, activation }: LogitsInfo, dataset: Dataset): LossKind {
  const task = chooseTask(activation, logits.shape, dataset)
  if (task === 'multilabel') return 'binary-cross-entropy'
  return task === 'classification' || activation !== 'none' ? 'cross-entropy' : 'mse'
}

/** Losses of values compare with what the model gives, an activation included; the others bring their own activation. */
export function takesValues(loss: LossChoice['loss']): boolean {
  return !['auto', 'cross-entropy', 'binary-cross-entropy'].includes(loss)
}

function checkOutputs(logits: Value, axis: number, dataset: Dataset): void {
  const outputs = logits.shape[axis]
  if (outputs === undefined) {
    throw new InputError(`model: cross-entropy needs logits [N,C,...], found ${logits.toString()}`)
  }
  checkClasses(dataset, outputs)
}

/** The loss of mixed batches: the same cross-entropy, of the probabilities that mixing makes of labels. */
export function softened(loss: LossSpec): LossSpec {
  if (loss.kind !== 'cross-entropy' || loss.targets === 'probabilities') {
    throw new UsageError(
      `--mixup, --cutmix: they need labels and --loss cross-entropy, the loss is ${loss.kind}`,
      { cure: 'leave them out, or use data with one class a sample' },
    )
  }
  const { ignoreIndex: _none, ...others } = loss
  return { ...others, targets: 'probabilities' }
}

/** How evaluation measures: by what the model's own output holds. */
export function measureOf(loss: LossSpec, activation: Activation): Measure {
  if (loss.kind === 'cross-entropy' && loss.targets !== 'probabilities')
    return measureFor('classification', activation)
  return measureFor(loss.kind === 'binary-cross-entropy' ? 'multilabel' : 'regression', activation)
}

/** The targets of a batch in the dtype and shape that the loss takes. */
export function adaptTargets(targets: Tensor, wanted: StepInput): Tensor {
  if (sizeOf(wanted.shape) !== targets.size) {
    throw new InputError(
      `data: a batch of targets is ${formatShape(targets.dims)}, the loss takes ${wanted.dtype}${formatShape(wanted.shape)}`,
      { cure: 'choose another --loss, or give targets of the shape of the model output' },
    )
  }
  if (targets.dtype === wanted.dtype && sameShape(targets.dims, wanted.shape)) return targets
  if (targets.dtype === wanted.dtype) return new Tensor(targets.dtype, wanted.shape, targets.data)
  const numbers = targets.toNumbers()
  if (wanted.dtype === 'int64') {
    const part = numbers.find(number => !Number.isInteger(number))
    if (part !== undefined) throw new InputError(`data: expected class indices, found ${part}`)
  }
  return Tensor.of(wanted.dtype, wanted.shape, numbers)
}
