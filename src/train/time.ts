/** Times of a run as Composer writes them: `0.8dur` (of the whole run), `3ep` (epochs), `500ba` (batches), `20000sp` (samples). */

import { UsageError } from '../util/errors.ts'

export type TimeUnit = 'dur' | 'ep' | 'ba' | 'sp'

export interface Time {
  readonly value: number
  readonly unit: TimeUnit
}

/** How long a run is. Every batch of training has `batchSize` samples; what is left of an epoch is dropped. */
export interface RunLength {
  /** Need not be whole. */
  readonly epochs: number
  readonly batchesPerEpoch: number
  readonly batchSize: number
}

const FORM = /^(\d+(?:\.\d*)?|\.\d+)(dur|ep|ba|sp)$/
const CURE = 'write a time as 0.8dur (of the run), 3ep (epochs), 500ba (batches) or 20000sp (samples)'

/** Reads a time; `what` names the option in errors. */
export function parseTime(text: string, what: string): Time {
  const match = FORM.exec(text.trim())
  if (!match) throw new UsageError(`${what}: expected a time, found "${text}"`, { cure: CURE })
  const time = { value: Number(match[1]), unit: match[2] as TimeUnit }
  const { value, unit } = time
  if (unit === 'dur' && value > 1) {
    throw new UsageError(`${what}: a part of the run should be between 0dur and 1dur, found "${text}"`)
  }
  if ((unit === 'ba' || unit === 'sp') && !Number.isSafeInteger(value)) {
    throw new UsageError(`${what}: expected a whole number of ${UNIT_NAMES[unit]}, found "${text}"`)
  }
  return time
}

const UNIT_NAMES: Record<TimeUnit, string> = {
  dur: 'the run',
  ep: 'epochs',
  ba: 'batches',
  sp: 'samples',
}

export function formatTime({ value, unit }: Time): string {
  return `${value}${unit}`
}

/** Batches of the whole run. */
export function totalBatches({ epochs, batchesPerEpoch }: RunLength): number {
  return Math.round(epochs * batchesPerEpoch)
}

/**
 * The number of batches after which a time is reached: the first whole number of batches that is not before it
 * (epochs: the nearest). It may lie beyond the end of the run.
 */
export function resolveTime({ value, unit }: Time, run: RunLength): number {
  switch (unit) {
    case 'dur':
      return ceil(value * totalBatches(run))
    case 'ep':
      return Math.round(value * run.batchesPerEpoch)
    case 'ba':
      return value
    case 'sp':
      return ceil(value / run.batchSize)
  }
}

/** Rounds up what is above a whole number by more than rounding errors: 0.7dur of 10 batches is 7, not 8. */
function ceil(value: number): number {
  const nearest = Math.round(value)
  return Math.abs(value - nearest) <= 1e-9 * Math.max(1, nearest) ? nearest : Math.ceil(value)
}

/** A point of the run: parsed, resolved and checked to lie in it. */
export function resolvePoint(text: string, run: RunLength, what: string): number {
  const at = resolveTime(parseTime(text, what), run)
  const total = totalBatches(run)
  if (at > total) {
    throw new UsageError(
      `${what}: ${text} is batch ${at}, expected a time inside the run of ${formatTime({ value: run.epochs, unit: 'ep' })} = ${total}ba`,
    )
  }
  return at
}

/** A stretch of time in batches; at least one, unless `least` allows none. It may reach beyond the end of the run. */
export function resolveLength(text: string, run: RunLength, what: string, least = 1): number {
  const length = resolveTime(parseTime(text, what), run)
  if (length < least) {
    throw new UsageError(`${what}: expected at least ${least} batch, found ${text} = ${length} batches`)
  }
  return length
}
