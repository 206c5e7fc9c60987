/** What an output is measured by: found from what the model applies last and from what the data hold as its target. */

import type { Dataset, TargetField } from '../data/index.ts'
import type { Dim } from '../ir/value.ts'
import type { Activation } from '../passes/index.ts'
import { formatShape } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import type { Measure, OutputKind, Task } from './metrics.ts'

/** A model output as far as its task is concerned. */
export interface OutputInfo {
  readonly name: string
  /** Batch first; null when it is not declared. */
  readonly shape: readonly Dim[] | null
  /** What the model applies last. */
  readonly activation: Activation
  /** The axis of a trailing Softmax; null without one. */
  readonly axis: number | null
}

/** A model output and what it is compared with. */
export interface MeasuredOutput extends Measure {
  readonly output: string
  /** The name of the target among the data's. */
  readonly target: string
  /** Its share of the loss where there are several outputs; default 1. */
  readonly weight?: number
}

/**
 * The target of an output: the one that is asked for, the one named after the output, the one at the output's position, or
 * the only one that there is.
 */
export function findTarget(
  { name: dataset, targets }: Pick<Dataset, 'name' | 'targets'>,
  output: string,
  outputs: readonly string[],
  asked?: string,
): TargetField {
  const named = (name: string) => targets.find(target => target.name === name)
  const found =
    asked === undefined
      ? (named(output) ??
        named(String(outputs.indexOf(output))) ??
        (targets.length === 1 ? targets[0] : undefined))
      : named(asked)
  if (found) return found
  const list = targets.map(target => `"${target.name}"`).join(', ')
  throw new InputError(
    asked === undefined
      ? `data: ${dataset} has no target for the model output "${output}", found ${list}`
      : `data: ${dataset} has no target "${asked}", found ${list}`,
    {
      cure: 'name a target with --loss OUTPUT=LOSS@TARGET, or name the targets of the data after the model outputs',
    },
  )
}

/**
 * The task that an output and its target have in common: classes behind a Sigmoid or one output are yes-no decisions,
 * classes behind anything else are one of many, also where each pixel or token has one, and values are predicted as they
 * are.
 */
export function chooseTask(output: OutputInfo, target: TargetField): Task {
  const { shape, activation } = output
  const { kind, dims } = target
  if (activation === 'sigmoid' || kind === 'multilabel') return 'multilabel'
  const dense = dims.length > 0
  if (dense && classAxis(output, target) !== null)
    return dims.length === 1 ? 'token-classification' : 'segmentation'
  if (kind === 'values') return 'regression'
  if (dense ? isMask(shape, dims) : isSingleOutput(shape)) return 'multilabel'
  if (dense) throw sizeMismatch(output, target)
  return 'classification'
}

/**
 * The axis of the classes: the one without which the output [N,C,d...] or [N,d...,C] has the dims of the target; null where
 * there is none. Where both fit it is the Softmax's, else the one whose size the model states, else the last one of
 * [N,T,C] and the second of images.
 */
export function classAxis({ shape, axis }: OutputInfo, { dims }: TargetField): number | null {
  if (shape === null) return null
  const rank = shape.length
  const softmax = axis !== null && axis < 0 ? axis + rank : axis
  if (dims.length === 0) return rank < 2 ? null : (softmax ?? 1)
  if (rank !== dims.length + 2) return null
  const fits = [1, rank - 1].filter(
    at =>
      shape[at] !== 1 &&
      shape
        .toSpliced(at, 1)
        .slice(1)
        .every((dim, i) => typeof dim !== 'number' || dim === dims[i]),
  )
  if (softmax !== null && fits.includes(softmax)) return softmax
  const stated = fits.filter(at => typeof shape[at] === 'number')
  const candidates = stated.length === 1 ? stated : fits
  return (rank === 3 ? candidates.at(-1) : candidates[0]) ?? null
}

/** The measure of an output, its own activation included. */
export function measureOutput(
  output: OutputInfo,
  target: TargetField,
  task = chooseTask(output, target),
): MeasuredOutput {
  const axis = classAxis(output, target)
  return {
    output: output.name,
    target: target.name,
    task,
    kind: outputKind(task, output.activation),
    ...(axis === null || axis === 1 ? {} : { axis }),
    ...(target.classes ? { classes: target.classes } : {}),
  }
}

/** How the model's own output is to be read for a task. */
export function outputKind(task: Task, activation: Activation): OutputKind {
  if (task === 'regression') return 'values'
  if (task === 'multilabel') return activation === 'sigmoid' ? 'sigmoid' : 'logits'
  const kinds = {
    softmax: 'probabilities',
    log_softmax: 'log_probabilities',
    sigmoid: 'sigmoid',
    none: 'logits',
  } as const
  return kinds[activation]
}

/** Whether a shape, batch first, holds one number for each sample. */
export function isSingleOutput(shape: readonly Dim[] | null): boolean {
  return shape?.slice(1).every(dim => dim === 1) ?? false
}

/** Whether an output [N,1,d...], [N,d...,1] or [N,d...] holds one number for each of the positions. */
function isMask(shape: readonly Dim[] | null, dims: readonly number[]): boolean {
  if (shape === null) return false
  const own = shape.slice(1)
  const fits = (list: readonly Dim[]) =>
    list.length === dims.length && list.every((dim, i) => typeof dim !== 'number' || dim === dims[i])
  return fits(own) || (own[0] === 1 && fits(own.slice(1))) || (own.at(-1) === 1 && fits(own.slice(0, -1)))
}

/** A class for each position, at other positions than the model's. */
export function sizeMismatch({ name, shape }: OutputInfo, target: TargetField): InputError {
  return new InputError(
    `data: target "${target.name}" has a class for each of ${target.dims.join('x')} positions, the model output "${name}" ${formatShape(shape ?? [])} has others`,
    {
      cure: 'give targets of the size of the output, or export the model with the resizing to the size of its input',
    },
  )
}

/** A classifier must know every class of the data. */
export function checkClasses(dataset: string, { classes }: TargetField, outputs: number): void {
  if (classes === null || classes.length <= outputs) return
  throw new InputError(`data: ${dataset} has ${classes.length} classes, the model has ${outputs} outputs`, {
    cure: 'leave out the classes that the model does not know, or use a model with as many outputs',
  })
}
