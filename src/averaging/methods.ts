/** The ways to make one model of several, and what each of them needs. */

import { UsageError } from '../util/errors.ts'
import { wholeWeights, quantizedWeights } from './weights.ts'

export type Method =
  /** Σ wₖ θₖ / Σ wₖ; stochastic weight averaging where the weights are equal. */
  | { readonly kind: 'mean' }
  /**
   * θ ← d θ + (1 - d) θₖ over the members in the order of their numbers, beginning with the first one, as `AveragedModel`
   * with `get_ema_multi_avg_fn`; with `warmup` d is at most 1 - k^(-2/3) at member k = 1, 2, ..., as timm's ModelEmaV3.
   */
  | { readonly kind: 'ema'; readonly decay: number; readonly warmup?: boolean }
  /** In each place the mean without the `trim` smallest and the `trim` largest numbers. */
  | { readonly kind: 'trimmed'; readonly trim: number }
  /** In each place the number in the middle, or the mean of the two. */
  | { readonly kind: 'median' }
  /** (1 - at) θ₀ + at θ₁; outside [0, 1] an extrapolation. */
  | { readonly kind: 'interpolate'; readonly at: number }
  /** The same along the arc between both, tensor by tensor: Shoemake, "Animating rotation with quaternion curves", 1985. */
  | { readonly kind: 'slerp'; readonly at: number }
  /** base + scale Σ (θₖ - base): Ilharco et al., "Editing models with task arithmetic", 2023. */
  | { readonly kind: 'task'; readonly scale?: number }
  /**
   * Of each difference to the base the share `density` of the largest numbers; in each place the mean of those whose sign
   * is that of their sum; times `scale`: Yadav et al., "TIES-merging", 2023.
   */
  | { readonly kind: 'ties'; readonly density: number; readonly scale?: number }
  /**
   * Of each difference to the base a random share `drop` is left out, and the rest divided by 1 - drop; their sum times
   * `scale`: Yu et al., "Language models are super Mario", 2024.
   */
  | { readonly kind: 'dare'; readonly drop: number; readonly scale?: number; readonly seed?: number }

  /**
   * The Gaussian that the members span, to draw models from: mean, variances, and deviations of the last `rank` members
   * (range-swag.ts).
   */
  | { readonly kind: 'swag'; readonly rank?: number }

export type MethodKind = Method['kind']

interface Needs {
  /** What it is called in reports. */
  readonly title: string
  /** Whether there is a model that differences are taken to. */
  readonly base?: true
  /** Exactly so many members. */
  readonly members?: number
  /** Whether members may have weights of their own. */
  readonly weights?: true
}

export const METHODS: Readonly<Record<MethodKind, Needs>> = {
  mean: { title: 'mean', weights: true },
  ema: { title: 'exponential moving average' },
  trimmed: { title: 'trimmed mean' },
  median: { title: 'median' },
  interpolate: { title: 'interpolation', members: 2 },
  slerp: { title: 'spherical interpolation', members: 2 },
  task: { title: 'task arithmetic', base: true },
  ties: { title: 'TIES', base: true },
  dare: { title: 'DARE', base: true },
  swag: { title: 'SWAG' },
}

/** How the numbers of one place become one number. */
export type Recipe =
  /** A sum with whole weights, divided by their total: exact, rounded once. */
  | { readonly kind: 'sum'; readonly weights: readonly number[] }
  /** The mean of those that are left when the `trim` smallest and largest are not counted: exact, rounded once. */
  | { readonly kind: 'order'; readonly trim: number }
  /** In float64, rounded once; needs numbers about whole tensors first. */
  | { readonly kind: 'combine'; readonly method: Method & { readonly kind: 'slerp' | 'ties' | 'dare' } }
  | { readonly kind: 'swag'; readonly rank: number }

/**
 * The recipe for files in the order of the plan: the base, if there is one, then the members in the order of training.
 * `weights`: what the person gave.
 */
export function recipeOf(method: Method, members: number, weights?: readonly number[]): Recipe {
  checkMethod(method, members, weights)
  switch (method.kind) {
    case 'mean':
      return { kind: 'sum', weights: weights ? positiveWeights(weights) : Array<number>(members).fill(1) }
    case 'ema':
      return { kind: 'sum', weights: quantizedWeights(emaWeights(method, members)) }
    case 'interpolate':
      return { kind: 'sum', weights: wholeWeights([decimal(1 - method.at), method.at]) }
    case 'task': {
      const scale = method.scale ?? 1 / members
      return { kind: 'sum', weights: taskWeights(scale, members) }
    }
    case 'trimmed':
      return { kind: 'order', trim: method.trim }
    case 'median':
      return { kind: 'order', trim: Math.ceil(members / 2) - 1 }
    case 'slerp':
    case 'ties':
    case 'dare':
      return { kind: 'combine', method }
    case 'swag':
      return { kind: 'swag', rank: Math.min(method.rank ?? SWAG_RANK, members) }
  }
}

function positiveWeights(weights: readonly number[]): number[] {
  const wrong = weights.find(weight => !(weight > 0 && weight < Infinity))
  if (wrong === undefined) return wholeWeights(weights)
  throw new UsageError(`average: a weight should be a positive number, found ${wrong}`, {
    cure: 'leave a member out instead of giving it the weight 0; move away from one with interpolate or task',
  })
}

/** Deviations that are kept, as in the paper. */
const SWAG_RANK = 20

/** The share of each member in an exponential moving average. */
function emaWeights({ decay, warmup = false }: Method & { readonly kind: 'ema' }, members: number): number[] {
  const shares: number[] = []
  for (let k = 1; k <= members; k++) {
    const d = k === 1 ? 0 : warmup ? Math.min(decay, 1 - k ** (-2 / 3)) : decay
    for (let i = 0; i < shares.length; i++) shares[i]! *= d
    shares.push(1 - d)
  }
  return shares
}

/** The base takes what the members leave of 1. */
function taskWeights(scale: number, members: number): number[] {
  if (scale === 1 / members) return [0, ...Array<number>(members).fill(1)]
  return wholeWeights([decimal(1 - scale * members), ...Array<number>(members).fill(scale)], {
    zeroFirst: true,
  })
}

/** A difference of decimals as it is meant: 1 - 0.9 is 0.1. */
function decimal(x: number): number {
  return Number(x.toPrecision(12))
}

const CHECKS: readonly (readonly [string, (x: number) => boolean, string])[] = [
  ['decay', x => x >= 0 && x < 1, 'at least 0 and below 1'],
  ['at', Number.isFinite, 'a number'],
  ['scale', x => Number.isFinite(x) && x !== 0, 'a number other than 0'],
  ['density', x => x > 0 && x <= 1, 'above 0 and at most 1'],
  ['drop', x => x >= 0 && x < 1, 'at least 0 and below 1'],
  ['rank', x => Number.isSafeInteger(x) && x >= 0, 'a whole number'],
  ['seed', x => Number.isSafeInteger(x) && x >= 0 && x < 2 ** 32, 'a whole number below 2^32'],
]

function checkMethod(method: Method, members: number, weights: readonly number[] | undefined): void {
  const needs = METHODS[method.kind]
  const found = `${members} member${members === 1 ? '' : 's'}`
  if (needs.members !== undefined && members !== needs.members) {
    throw new UsageError(`average: ${method.kind} takes ${needs.members} members, found ${members}`)
  }
  if (weights && !needs.weights) {
    throw new UsageError(`average: ${method.kind} takes no weights; they go with the method mean`)
  }
  const values = method as unknown as Readonly<Record<string, number | undefined>>
  for (const [name, holds, expected] of CHECKS) {
    const value = values[name]
    if (value === undefined || holds(value)) continue
    throw new UsageError(`average: ${name} of ${method.kind}: expected ${expected}, found ${value}`)
  }
  if (method.kind === 'swag' && members < 2) {
    throw new UsageError(`average: swag: a variance takes 2 or more members, found ${found}`)
  }
  if (method.kind === 'trimmed') {
    const { trim } = method
    const most = Math.ceil(members / 2) - 1
    if (!Number.isSafeInteger(trim) || trim < 1 || trim > most) {
      throw new UsageError(
        `average: trim: expected a whole number from 1 to ${most} for ${found}, found ${trim}`,
        { cure: 'so many numbers are left out at each end of every place' },
      )
    }
  }
}
