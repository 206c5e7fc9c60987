/** Transforms from JSON: every field is checked, unknown ones are refused. */

import { UsageError } from '../util/errors.ts'
import { MAGNITUDE_BINS } from './augment/rand-augment.ts'
import type { Augment, ImageTransforms, TensorTransforms, Transforms } from './transforms.ts'

type Check = (value: unknown) => string | null // what was expected, when it was not found

const finite = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1

const oneOf =
  (...choices: unknown[]): Check =>
  value =>
    choices.includes(value) ? null : choices.map(choice => JSON.stringify(choice)).join(' or ')

const numbers: Check = value =>
  Array.isArray(value) && value.length > 0 && value.every(finite) ? null : 'a list of numbers'

const nonzero: Check = value =>
  numbers(value) ?? ((value as number[]).every(number => number > 0) ? null : 'a list of positive numbers')

const size: Check = value =>
  isRecord(value, ['height', 'width']) && whole(value['height']) && whole(value['width'])
    ? null
    : '{ height, width } in whole pixels'

const short: Check = value =>
  isRecord(value, ['short']) && whole(value['short']) ? null : '{ short } in whole pixels'

const either =
  (...checks: Check[]): Check =>
  value => {
    const expected = checks.map(check => check(value))
    return expected.includes(null) ? null : expected.join(' or ')
  }

const optional = (check: Check): Check => either(oneOf(null), check)

const range = (low: number, high: number): Check => {
  return value =>
    Array.isArray(value) &&
    value.length === 2 &&
    value.every(finite) &&
    value[0]! > low &&
    value[0]! <= value[1]! &&
    value[1]! <= high
      ? null
      : `[smallest, largest] above ${low}${Number.isFinite(high) ? `, at most ${high}` : ''}`
}

const between =
  (low: number, high: number): Check =>
  value =>
    finite(value) && value >= low && value <= high ? null : `a number from ${low} to ${high}`

const pixels: Check = value =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? null : 'a whole number of pixels'

const positive: Check = value => (finite(value) && value > 0 ? null : 'a positive number')

const strength: Check = value => (finite(value) && value >= 0 ? null : 'a number of 0 or more')

const record =
  (fields: Readonly<Record<string, Check>>): Check =>
  value => {
    if (!isRecord(value, Object.keys(fields))) return `an object of ${Object.keys(fields).join(', ')}`
    for (const [key, check] of Object.entries(fields)) {
      const expected = check(value[key])
      if (expected !== null) return `${key}: ${expected}`
    }
    return null
  }

const AUGMENT: Readonly<Record<keyof Augment, Check>> = {
  flip: between(0, 1),
  verticalFlip: between(0, 1),
  shift: pixels,
  fill: oneOf('zero', 'edge'),
  randomResizedCrop: optional(record({ scale: range(0, 1), ratio: range(0, Infinity) })),
  rotation: between(0, 180),
  randAugment: optional(record({ ops: pixels, magnitude: between(0, MAGNITUDE_BINS - 1) })),
  colorJitter: optional(
    record({ brightness: strength, contrast: strength, saturation: strength, hue: between(0, 0.5) }),
  ),
  erasing: optional(
    record({
      probability: between(0, 1),
      scale: range(0, 1),
      ratio: range(0, Infinity),
      value: oneOf('zero', 'random'),
    }),
  ),
}

const IMAGE: Readonly<Record<keyof ImageTransforms, Check>> = {
  kind: oneOf('image'),
  resize: optional(either(short, size)),
  resample: oneOf('fast', 'exact'),
  crop: optional(size),
  augment: optional(record(AUGMENT)),
  channels: oneOf(null, 1, 3),
  divide: positive,
  mean: numbers,
  std: nonzero,
  layout: oneOf('NCHW', 'NHWC', 'NHW', 'flat'),
}

const TENSOR: Readonly<Record<keyof TensorTransforms, Check>> = {
  kind: oneOf('tensor'),
  dims: optional(value => (Array.isArray(value) && value.every(whole) ? null : 'a list of dims')),
  dtype: oneOf('float32', 'int32', 'int64'),
  mean: numbers,
  std: nonzero,
}

function isRecord(value: unknown, keys: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const found = Object.keys(value)
  return found.length === keys.length && found.every(key => keys.includes(key))
}

/** Checks a value that came from JSON; `where` names the file or option. */
export function checkTransforms(value: unknown, where: string): Transforms {
  const kind = (value as { kind?: unknown } | null | undefined)?.kind
  const fields = kind === 'image' ? IMAGE : kind === 'tensor' ? TENSOR : null
  if (fields === null)
    throw new UsageError(
      `${where}: transforms: kind: expected "image" or "tensor", got ${JSON.stringify(kind)}`,
    )
  for (const key of Object.keys(value as object)) {
    if (!(key in fields))
      throw new UsageError(
        `${where}: transforms: unknown field '${key}', expected ${Object.keys(fields).join(', ')}`,
      )
  }
  for (const [key, check] of Object.entries(fields)) {
    const found = (value as Record<string, unknown>)[key]
    const expected = check(found)
    if (expected !== null)
      throw new UsageError(`${where}: transforms: ${key}: expected ${expected}, got ${JSON.stringify(found)}`)
  }
  return value as Transforms
}
