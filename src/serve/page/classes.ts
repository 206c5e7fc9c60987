/** Outputs that give a number for each of some classes. */

import { largest, numbersOf } from '../protocol/classification.ts'
import { DTYPES } from '../../tensor/dtype.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { Tensors } from './tensors.ts'

/** What an output says of one sample. */
export interface ClassScores {
  /** As the model gave them. */
  readonly values: Float64Array
  /** The values where these are probabilities, otherwise their softmax. */
  readonly probabilities: Float64Array
  readonly softmaxed: boolean
}

/** More than any classifier of ImageNet-21k has. */
const MOST_CLASSES = 25_000
/** Names of outputs that are no scores although they look like them. */
const NO_SCORES = /embed|hidden|feature|pool|latent/i

/** The names, if an output has as many classes; null: they are not of these outputs. */
export function fittingLabels(outputs: Tensors, labels: readonly string[] | null): readonly string[] | null {
  return [...outputs.values()].some(({ dims }) => dims.at(-1) === labels?.length) ? labels : null
}

/**
 * The scores of each sample; null where the output is not one of classes: floats, [samples, classes] or [classes], as
 * many as there are labels where there are any.
 */
export function classScores(
  name: string,
  tensor: Tensor,
  batched: boolean,
  labels: readonly string[] | null,
): ClassScores[] | null {
  const { dims, dtype } = tensor
  const rank = dims.length
  const classes = dims[rank - 1] ?? 0
  if (!DTYPES[dtype].float || rank > 2 || (rank === 1 && batched) || NO_SCORES.test(name)) return null
  if (classes < 2 || classes > MOST_CLASSES || (labels !== null && labels.length !== classes)) return null
  const values = numbersOf(tensor)
  if (values.length === 0 || !values.every(Number.isFinite)) return null
  const half = DTYPES[dtype].bits === 16
  return Array.from({ length: values.length / classes }, (_, sample) =>
    scoresOf(values.subarray(sample * classes, (sample + 1) * classes), half ? 1e-2 : 1e-3),
  )
}

/** `tolerance`: how far from 1 the sum of probabilities may be. */
export function scoresOf(values: Float64Array, tolerance = 1e-3): ClassScores {
  const sum = values.reduce((total, value) => total + value, 0)
  const given = values.every(value => value >= 0 && value <= 1 + tolerance) && Math.abs(sum - 1) <= tolerance
  return { values, probabilities: given ? values : softmax(values), softmaxed: !given }
}

/** exp(x - max) / sum, which no large value overflows. */
export function softmax(values: Float64Array): Float64Array {
  const most = values.reduce((max, value) => Math.max(max, value), -Infinity)
  const powers = values.map(value => Math.exp(value - most))
  const sum = powers.reduce((total, value) => total + value, 0)
  return powers.map(value => value / sum)
}

/** The classes that have the most of some scores: the first `count` of each, in the order of the first scores. */
export function topClasses(scores: readonly ClassScores[], count: number): number[] {
  const found = new Set(scores.flatMap(({ values }) => largest(values, Math.min(count, values.length))))
  const [first] = scores
  return [...found].sort((a, b) => first!.values[b]! - first!.values[a]! || a - b)
}
