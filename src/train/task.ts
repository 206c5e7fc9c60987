/** Which losses fit a model and its data, how targets are brought into their form, and how the result is measured. */

import { checkMaskMix, type Dataset, type Mix, type TargetField } from '../data/index.ts'
import {
  checkClasses,
  chooseTask,
  classAxis,
  findTarget,
  measureOutput,
  sizeMismatch,
  type MeasuredOutput,
  type OutputInfo,
} from '../eval/task.ts'
import type { Task } from '../eval/metrics.ts'
import { formatShape, sameShape, sizeOf, type Shape } from '../tensor/shape.ts'
import type { DType } from '../tensor/dtype.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { resolveClassWeights, resolvePosWeight, type ClassWeights, type PosWeight } from './class-weights.ts'
import { isBinaryLoss, isClassLoss, type LossKind, type LossSpec } from './losses.ts'
import type { LossTerm } from './objective.ts'
import type { Head } from './prepare.ts'

/** A loss as a person asks for it. */
export interface LossRequest {
  readonly kind: LossKind | 'auto'
  /** gamma of focal losses, delta of huber, beta of smooth-l1. */
  readonly parameter?: number
  /** The model output; default: the only one. */
  readonly output?: string
  /** The target of the data; default: the one that goes with the output. */
  readonly target?: string
  /** Its share of the whole loss; default 1. */
  readonly weight?: number
}

/** What a run's settings say about the loss. */
export interface LossSettings {
  /** One loss, one for each of several outputs, or an ONNX graph (FinetuneOptions.lossGraph). */
  readonly loss: LossKind | 'auto' | 'graph' | readonly LossRequest[]
  readonly labelSmoothing: number
  readonly ignoreIndex: number
  readonly classWeights?: ClassWeights
  readonly posWeight?: PosWeight
  /** The output of an only loss. */
  readonly output?: string
}

/** The losses that are asked for, one for each trained output. */
export function lossRequests({ loss, output }: LossSettings): readonly LossRequest[] {
  const named = output === undefined ? {} : { output }
  if (typeof loss === 'string') return [{ kind: loss === 'graph' ? 'auto' : loss, ...named }]
  const [first, ...others] = loss
  if (!first) throw new UsageError('--loss: expected at least one loss')
  if (others.length === 0) return [{ ...named, ...first }]
  const names = new Set<string | undefined>(loss.map(request => request.output))
  if (names.has(undefined) || names.size < loss.length || output !== undefined) {
    throw new UsageError(
      '--loss: each of several losses goes with an output of its own, such as --loss logits=cross-entropy',
      {
        cure: 'name another output in each, and leave out --output; several losses of one output go into an ONNX loss graph',
      },
    )
  }
  return loss
}

/** Losses of values compare with what the model gives, an activation included; the others bring their own activation. */
export function takesValues(loss: LossRequest['kind']): boolean {
  return ['mse', 'l1', 'huber', 'smooth-l1'].includes(loss)
}

/** What is trained: a term for each head, in their order, and how each output is measured. */
export interface ChosenLosses {
  readonly terms: readonly LossTerm[]
  readonly measured: readonly MeasuredOutput[]
}

/**
 * The losses for a data set. Where a request leaves it open: cross-entropy for classes, binary cross-entropy behind a
 * Sigmoid, squared error for values.
 *
 * @param heads aligned with the requests
 * @param outputs names of all outputs of the model
 */
export function chooseLosses(
  settings: LossSettings,
  heads: readonly Head[],
  outputs: readonly string[],
  dataset: Dataset,
): ChosenLosses {
  const chosen = lossRequests(settings).map((request, i) => {
    const head = heads[i]!
    const target = findTarget(dataset, head.output, outputs, request.target)
    const loss = chooseLoss(settings, request, head, dataset, target)
    const { weight = 1 } = request
    return {
      term: { loss, weight, field: target.name },
      measure: { ...measureFor(loss, head, target), ignoreIndex: settings.ignoreIndex, weight },
    }
  })
  return { terms: chosen.map(({ term }) => term), measured: chosen.map(({ measure }) => measure) }
}

/** The loss of one output. */
export function chooseLoss(
  settings: LossSettings,
  request: LossRequest,
  head: Head,
  dataset: Dataset,
  target: TargetField,
): LossSpec {
  const info = infoOf(head)
  const kind = request.kind === 'auto' ? defaultLoss(info, target) : request.kind
  const given = parameterOf(kind, request.parameter)
  const { shape } = head.logits
  if (kind === 'binary-cross-entropy' || kind === 'binary-focal') {
    const { posWeight } = settings
    const columns = shape.length < 2 ? 1 : shape[1]!
    return {
      kind,
      ...given,
      ...(posWeight ? { posWeight: resolvePosWeight(posWeight, columns, dataset, target) } : {}),
    }
  }
  if (kind !== 'cross-entropy' && kind !== 'focal' && kind !== 'causal-lm') return { kind, ...given }
  const axis = kind === 'causal-lm' ? shape.length - 1 : axisOf(info, target)
  const outputs = shape[axis]
  if (outputs === undefined)
    throw new InputError(`model: ${kind} needs logits [N,C,...], found ${head.logits.toString()}`)
  checkClasses(dataset, target, outputs)
  const { labelSmoothing, ignoreIndex, classWeights } = settings
  const shared = {
    ...{ kind, axis, labelSmoothing, ...given },
    ...(classWeights
      ? { classWeights: resolveClassWeights(classWeights, outputs, dataset, target, ignoreIndex) }
      : {}),
  }
  return isLabelled(info, target) || kind === 'causal-lm'
    ? { ...shared, targets: 'labels', ignoreIndex }
    : { ...shared, targets: 'probabilities' }
}

const DEFAULT_LOSSES: Readonly<Record<Task, LossKind>> = {
  classification: 'cross-entropy',
  segmentation: 'cross-entropy',
  'token-classification': 'cross-entropy',
  'language-model': 'causal-lm',
  multilabel: 'binary-cross-entropy',
  regression: 'mse',
}

/** Values behind a Softmax are distributions. */
function defaultLoss(info: OutputInfo, target: TargetField): LossKind {
  const task = chooseTask(info, target)
  return task === 'regression' && info.activation !== 'none' ? 'cross-entropy' : DEFAULT_LOSSES[task]
}

/** Loss -> the name of its parameter. */
const PARAMETERS: Partial<Readonly<Record<LossKind, string>>> = {
  focal: 'gamma',
  'binary-focal': 'gamma',
  huber: 'delta',
  'smooth-l1': 'beta',
}

function parameterOf(kind: LossKind, parameter: number | undefined): Record<string, number> {
  if (parameter === undefined) return {}
  const name = PARAMETERS[kind]
  if (name === undefined) throw new UsageError(`--loss: ${kind} takes no number, found ${kind}:${parameter}`)
  return { [name]: parameter }
}

/** The logits of a head as an output to find a task for: their shape is static. */
function infoOf({ output, logits, activation, activationAxis }: Head): OutputInfo {
  return { name: output, shape: logits.shape, activation, axis: activationAxis }
}

function axisOf(info: OutputInfo, target: TargetField): number {
  const axis = classAxis(info, target)
  if (axis !== null) return axis
  const distribution = sameShape(info.shape!.slice(1) as Shape, target.dims)
  if (target.dims.length > 0 && !distribution) throw sizeMismatch(info, target)
  const { axis: softmax } = info
  return softmax === null ? 1 : softmax < 0 ? softmax + info.shape!.length : softmax
}

/** Whether a target holds class indices, not a distribution over the classes. */
function isLabelled(info: OutputInfo, target: TargetField): boolean {
  return target.kind === 'class' || (target.dims.length > 0 && classAxis(info, target) !== null)
}

/**
 * The losses of mixed batches: the same cross-entropy, of the probabilities that mixing makes of labels; of masks, whose
 * pixels CutMix moves, as it is.
 */
export function mixedLosses(
  mix: Mix,
  terms: readonly LossTerm[],
  { targets }: Pick<Dataset, 'targets'>,
): readonly LossTerm[] {
  return terms.map(term => {
    const { loss, field } = term
    if (targets.find(({ name }) => name === field)?.mask) {
      checkMaskMix(mix)
      return term
    }
    const fits = loss.kind === 'cross-entropy' || loss.kind === 'focal'
    if (!fits || loss.targets === 'probabilities') {
      throw new UsageError(
        `--mixup, --cutmix: they need labels and --loss cross-entropy, the loss is ${loss.kind}`,
        { cure: 'leave them out, or use data with one class a sample' },
      )
    }
    const { ignoreIndex: _none, ...others } = loss
    return { ...term, loss: { ...others, targets: 'probabilities' } }
  })
}

/** How evaluation measures the output of a head: by what it was trained for and what the model's own output holds. */
function measureFor(loss: LossSpec, head: Head, target: TargetField): MeasuredOutput {
  const { output: name, activation, activationAxis: axis, outputShape, logits } = head
  const info: OutputInfo = { name, shape: outputShape ?? logits.shape, activation, axis }
  if (loss.kind === 'causal-lm')
    return { ...measureOutput(info, target, 'language-model'), axis: logits.rank - 1 }
  if (isBinaryLoss(loss)) return measureOutput(info, target, 'multilabel')
  if (!isClassLoss(loss) || loss.targets === 'probabilities') return measureOutput(info, target, 'regression')
  const dense = target.dims.length
  return measureOutput(
    info,
    target,
    dense === 0 ? 'classification' : dense === 1 ? 'token-classification' : 'segmentation',
  )
}

/** The targets of a batch in the dtype and shape that the loss takes. */
export function adaptTargets(
  targets: Tensor,
  wanted: { readonly dtype: DType; readonly shape: Shape },
): Tensor {
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
