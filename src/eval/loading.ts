/** Data for a model: which transforms its inputs need, and batches of the size it takes. */

import {
  BatchLoader,
  checkTransforms,
  imageInputOf,
  transformsFor,
  type Dataset,
  type Field,
  type ImageSize,
  type OpenOptions,
  type PresetName,
  type Transforms,
} from '../data/index.ts'
import type { Model } from '../ir/graph.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape } from '../tensor/shape.ts'
import { InputError, UsageError } from '../util/errors.ts'

/** What images become, where the model and the data do not say. */
export interface ImageOptions {
  /** Normalisation by name. */
  readonly preset?: PresetName
  /** Normalisation by hand: one number, or one for each channel. */
  readonly mean?: readonly number[]
  readonly std?: readonly number[]
  /** Height and width, where the model leaves them open. */
  readonly size?: ImageSize
}

/** Which samples of a data set, and what becomes of them. */
export interface DataOptions extends OpenOptions, ImageOptions {}

/** A model input as far as its data are concerned. */
export interface InputSpec {
  readonly name: string
  readonly dtype: DType | null
  readonly shape: readonly (number | string | null)[]
}

/** The inputs that data must feed. */
export function inputSpecs(model: Model): InputSpec[] {
  return model.graph.feeds.map(({ name, type }) => {
    if (type?.kind !== 'tensor') throw new InputError(`model: input "${name}" is not a tensor`)
    return { name, dtype: type.dtype, shape: type.shape ?? [] }
  })
}

/** Transforms of each field of a data set for the model input that it feeds, by field name. */
export function transformsForInputs(
  dataset: Dataset,
  inputs: readonly InputSpec[],
  options: ImageOptions = {},
): Record<string, Transforms> {
  const transforms = dataset.fields.map(
    field => [field.name, transformsForInput(field, inputFor(field, inputs), options)] as const,
  )
  return Object.fromEntries(transforms)
}

function transformsForInput(field: Field, input: InputSpec, options: ImageOptions): Transforms {
  const { preset, mean, std, size } = options
  const integer = input.dtype === 'int64' || input.dtype === 'int32'
  const shape = size && !integer ? withSize(input, size) : input.shape
  const dtype = integer ? input.dtype : 'float32'
  const transforms = transformsFor(shape, field, { ...(preset ? { preset } : {}), dtype })
  if (!mean || !std || integer) return transforms
  const channels = transforms.kind === 'image' ? (transforms.channels ?? 1) : null
  for (const [name, numbers] of Object.entries({ mean, std })) {
    if (channels === null || numbers.length === 1 || numbers.length === channels) continue
    throw new UsageError(
      `--${name}: expected one number, or one for each of ${channels} channels, found ${numbers.length}`,
    )
  }
  return checkTransforms({ ...transforms, mean, std }, '--mean and --std')
}

const SIDES = { NCHW: [2, 3], NHWC: [1, 2], NHW: [1, 2], flat: [] } as const

/** The shape of an image input with its open sides filled in. */
function withSize({ name, shape }: InputSpec, { height, width }: ImageSize): InputSpec['shape'] {
  const image = imageInputOf(shape)
  if (!image) throw new UsageError(`--size: input "${name}" ${formatShape(shape)} takes no images`)
  const [vertical, horizontal] = SIDES[image.layout ?? 'NCHW']
  const fits = (own: number | null, wanted: number) => own === null || own === wanted
  if (!fits(image.height, height) || !fits(image.width, width)) {
    throw new UsageError(
      `--size: expected ${image.height ?? 'any'}x${image.width ?? 'any'}, which input "${name}" of the model takes, found ${height}x${width}`,
    )
  }
  return shape.map((dim, axis) => (axis === vertical ? height : axis === horizontal ? width : dim))
}

/** Every sample once, in order, without augmentation. */
export function evaluationLoader(
  dataset: Dataset,
  transforms: Readonly<Record<string, Transforms>>,
  batchSize: number,
): BatchLoader {
  return new BatchLoader(dataset, { batchSize, seed: 0, mode: 'eval', transforms })
}

/** Fields are named by model input, or by a decimal number: the input at that position. */
function inputFor(field: Field, inputs: readonly InputSpec[]): InputSpec {
  const byPosition = /^\d+$/.test(field.name) ? inputs[Number(field.name)] : undefined
  const found = inputs.find(input => input.name === field.name) ?? byPosition
  if (found) return found
  const names = inputs.map(input => `"${input.name}"`).join(', ')
  throw new InputError(`data: no model input is called "${field.name}", found ${names}`, {
    cure: 'name the arrays of the data after the model inputs',
  })
}
