/** What classes weigh in a loss: numbers, or what balances the classes of the training data. */

import type { Dataset, TargetField } from '../data/index.ts'
import { sizeOf } from '../tensor/shape.ts'
import { InputError, UsageError } from '../util/errors.ts'

/** `balanced`, one number for each class, or numbers by class name (others weigh 1). */
export type ClassWeights = 'balanced' | readonly number[] | Readonly<Record<string, number>>

/** `balanced`, one number, or one for each class. */
export type PosWeight = 'balanced' | readonly number[]

/**
 * One weight for each of `classes` classes. Balanced: n / (K · n[c]), where n[c] of n elements are of class c and K classes
 * occur (scikit-learn's `compute_class_weight`); a class that never occurs weighs 1.
 */
export function resolveClassWeights(
  weights: ClassWeights,
  classes: number,
  dataset: Dataset,
  target: TargetField,
  ignoreIndex: number,
): number[] {
  if (weights === 'balanced') {
    const counts = countClasses(dataset, target, classes, ignoreIndex)
    const total = counts.reduce((sum, count) => sum + count, 0)
    const present = counts.filter(count => count > 0).length
    return counts.map(count => (count === 0 ? 1 : total / (present * count)))
  }
  const list = isList(weights) ? [...weights] : weightsByName(weights, classes, target)
  if (list.length !== classes) {
    throw new UsageError(
      `--class-weights: expected ${classes} numbers, one for each class, found ${list.length}`,
    )
  }
  return list
}

function isList(weights: readonly number[] | Readonly<Record<string, number>>): weights is readonly number[] {
  return Array.isArray(weights)
}

function weightsByName(
  weights: Readonly<Record<string, number>>,
  classes: number,
  { name, classes: names }: TargetField,
): number[] {
  const stranger = Object.keys(weights).find(key => !names?.includes(key))
  if (stranger !== undefined) {
    const found = names === null ? 'no class names' : names.join(', ')
    throw new UsageError(`--class-weights: target "${name}" has no class "${stranger}", found ${found}`)
  }
  return Array.from({ length: classes }, (_, c) => weights[names![c] ?? ''] ?? 1)
}

/** Elements of each class in the training data. */
function countClasses(dataset: Dataset, target: TargetField, classes: number, ignoreIndex: number): number[] {
  const counts = new Array<number>(classes).fill(0)
  const position = dataset.targets.indexOf(target)
  for (let i = 0; i < dataset.length; i++) {
    const inMask = dataset.maskCounts?.(i)
    if (inMask) {
      inMask.forEach((count, label) => (counts[label]! += count))
      continue
    }
    const own = dataset.target(i, position)
    for (const label of typeof own === 'number' ? [own] : own) {
      if (label === ignoreIndex) continue
      if (counts[label] === undefined) {
        throw new InputError(
          `data: ${dataset.sampleName(i)} has class ${label}, expected one of the model's ${classes}`,
        )
      }
      counts[label]++
    }
  }
  return counts
}

/** Weights of "yes". Balanced: for each column (no)/(yes) of the training data, so that both sides weigh the same. */
export function resolvePosWeight(
  weights: PosWeight,
  columns: number,
  dataset: Dataset,
  target: TargetField,
): number[] {
  if (weights !== 'balanced') return [...weights]
  const yes = new Array<number>(columns).fill(0)
  const position = dataset.targets.indexOf(target)
  let inMasks = 0
  for (let i = 0; i < dataset.length; i++) {
    const counts = dataset.maskCounts?.(i)
    if (counts) {
      yes[0]! += counts[1] ?? 0
      inMasks += counts.reduce((sum, count) => sum + count, 0)
      continue
    }
    const own = dataset.target(i, position)
    const list = typeof own === 'number' ? [own] : own
    const inner = list.length / columns
    list.forEach((value: number, at: number) => {
      if (value > 0.5) yes[Math.floor(at / inner)]!++
    })
  }
  const all = inMasks > 0 ? inMasks : (dataset.length * sizeOf(target.dims)) / columns
  return yes.map(count => (count === 0 ? 1 : Math.max(all - count, 1) / count))
}
