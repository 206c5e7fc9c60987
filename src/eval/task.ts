/** What an output is measured by: found from what the model applies last and from what the data hold as its target. */

import type { Dataset, TargetField } from '../data/index.ts'
import type { Dim } from '../ir/value.ts'
import type { Activation } from '../passes/index.ts'
import { formatShape } from '../tensor/shape.ts'
import { InputError, UsageError } from '../util/errors.ts'
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
 * The target of an output: the one that is asked for, the one named after the output or given to it, the one at the
 * output's position, or the only one that there is.
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
      ? (targets.find(target => belongsTo(target, output, outputs)) ??
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

/** Whether a target goes with an output, by name or by position. */
export function belongsTo(target: TargetField, output: string, outputs: readonly string[]): boolean {
  const position = outputs.indexOf(output)
  const given = target.output
  if (given !== undefined) return given === output || given === position
  return target.name === output || target.name === String(position)
}

/**
 * Targets that were given to outputs by name or by position: the model must have these outputs.
 *
 * @param free whether more targets than outputs are of use, because a loss graph reads them
 */
export function checkTargetOutputs(
  { name: dataset, targets }: Pick<Dataset, 'name' | 'targets'>,
  outputs: readonly string[],
  free = false,
): void {
  const found = outputs.map(output => `"${output}"`).join(', ')
  for (const { name, output } of targets) {
    if (typeof output === 'string' && !outputs.includes(output))
      throw new UsageError(`data: target "${name}" is for the output "${output}", the model has ${found}`, {
        cure: 'write --targets OUTPUT=ARRAY with outputs of the model',
      })
    if (typeof output === 'number' && output >= outputs.length && !free)
      throw new UsageError(
        `data: ${dataset} has ${targets.length} targets (${targets.map(target => `"${target.name}"`).join(', ')}), the model has ${outputs.length} outputs (${found})`,
        { cure: 'name those that are trained or measured: --targets OUTPUT=ARRAY,...' },
      )
  }
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
  if (dense ? isMask(shape, target) : isSingleOutput(shape)) return 'multilabel'
  if (dense) throw sizeMismatch(output, target)
  return 'classification'
}

/**
 * The axis of the classes: the one without which the output [N,C,d...] or [N,d...,C] has the dims of the target; null where
 * there is none. Where both fit it is the Softmax's, else the one whose size the model states, else the last one of
 * [N,T,C] and the second of images.
 */
export function classAxis({ shape, axis }: OutputInfo, { dims, mask }: TargetField): number | null {
  if (shape === null) return null
  const rank = shape.length
  const softmax = axis !== null && axis < 0 ? axis + rank : axis
  if (dims.length === 0) return rank < 2 ? null : (softmax ?? 1)
  if (rank !== dims.length + 2) return null
  if (mask) return shape[1] === 1 || shape[3] === 1 ? null : (softmax ?? maskAxis(shape, dims))
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

/**
 * The axis of the classes of an output whose positions may be fewer than those of the masks: the one without which the
 * sides have the proportions of the masks, else the second.
 */
function maskAxis(shape: readonly Dim[], [height, width]: readonly number[]): number {
  const proportional = (axis: number) => {
    const [h, w] = shape.toSpliced(axis, 1).slice(1)
    if (typeof h !== 'number' || typeof w !== 'number') return false
    return height === 0 ? h === w : h * width! === w * height!
  }
  return !proportional(1) && proportional(3) ? 3 : 1
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
    ...(task === 'multilabel' && decidesByPosition(output, target) ? { single: true } : {}),
    ...(target.classes ? { classes: target.classes } : {}),
    ...(target.mask ? { mask: true } : {}),
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

/** Whether yes or no is about a position (a mask, a token), not about one of several classes. */
function decidesByPosition({ shape }: OutputInfo, target: TargetField): boolean {
  const { kind, dims } = target
  const positions = kind === 'class' ? dims.length > 0 : kind === 'values' && dims.length > 1
  return positions && isMask(shape, target)
}

/** Whether an output [N,1,d...], [N,d...,1] or [N,d...] holds one number for each of the positions. */
function isMask(shape: readonly Dim[] | null, { dims, mask }: TargetField): boolean {
  if (shape === null) return false
  const own = shape.slice(1)
  if (mask) return own.length === 2 || (own.length === 3 && (own[0] === 1 || own[2] === 1))
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

/** What of a data set says where a class is. */
type Masks = Pick<Dataset, 'name' | 'length' | 'sampleName' | 'maskCounts'>

/** A classifier must know every class of the data. */
export function checkClasses(dataset: Masks, { classes }: TargetField, outputs: number): void {
  if (classes === null || classes.length <= outputs) return
  throw new InputError(
    `data: ${dataset.name} has ${classes.length} classes, the model has ${outputs} outputs${describeStranger(dataset, outputs)}`,
    { cure: 'leave out the classes that the model does not know, or use a model with as many outputs' },
  )
}

/** Where in masks a class is that a model does not know; nothing where data are no masks. */
export function describeStranger(dataset: Masks, outputs: number): string {
  for (let i = 0; i < dataset.length; i++) {
    const label = (dataset.maskCounts?.(i) ?? []).findIndex((count, c) => c >= outputs && count > 0)
    if (label >= 0) return `; the mask of ${dataset.sampleName(i)} has class ${label}`
  }
  return ''
}
