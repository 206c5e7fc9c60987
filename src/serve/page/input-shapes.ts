/** What inputs of a model can be made from, as far as their shapes and names say. */

import { defaultTransforms, imageInputOf, type ImageInput } from '../../data/transforms-default.ts'
import type { ImageTransforms, PresetName } from '../../data/transforms.ts'
import type { Datatype } from '../protocol/datatypes.ts'
import type { TensorMetadata } from '../protocol/schemas.ts'

export interface ImagePort {
  readonly name: string
  readonly datatype: Datatype
  /** Images that one request must hold: 1 where the model takes any number. */
  readonly count: number
  readonly input: ImageInput
}

const PIXELS: ReadonlySet<Datatype> = new Set(['FP32', 'FP16', 'BF16', 'FP64', 'UINT8'])

/** The only input, if it is an image: [samples, channels, height, width] or [samples, height, width, channels]. */
export function imagePortOf(inputs: readonly TensorMetadata[]): ImagePort | null {
  const [port] = inputs
  if (inputs.length !== 1 || port?.shape.length !== 4 || !PIXELS.has(port.datatype)) return null
  const { name, datatype, shape } = port
  const input = imageInputOf(shape)
  return input && { name, datatype, count: shape[0]! > 0 ? shape[0]! : 1, input }
}

export interface ImageChoice {
  /** null: as the input suggests. */
  readonly preset: PresetName | null
  /** Sides where the model leaves them open. */
  readonly height: number
  readonly width: number
}

/** Normalisations that suit the input; none for bytes, which models of bytes normalise themselves. */
export function presetsFor({ datatype, input }: ImagePort): readonly PresetName[] {
  if (datatype === 'UINT8') return []
  return input.channels === 3 ? ['imagenet', 'mnist', 'none'] : ['mnist', 'none']
}

export function transformsOf(port: ImagePort, choice: ImageChoice): ImageTransforms {
  const { input, datatype } = port
  const sized = { ...input, height: input.height ?? choice.height, width: input.width ?? choice.width }
  const transforms = defaultTransforms(sized, undefined, choice.preset ?? undefined)
  return datatype === 'UINT8' ? { ...transforms, divide: 1, mean: [0], std: [1] } : transforms
}

/** `short side to 256, centre 224 x 224, in colour, pixels / 255, mean 0.485 0.456 0.406, std ...`. */
export function describeTransforms({ resize, crop, channels, divide, mean, std }: ImageTransforms): string {
  const parts: string[] = []
  if (resize !== null) {
    parts.push(
      'short' in resize ? `short side to ${resize.short}` : `${resize.width} × ${resize.height} pixels`,
    )
  }
  if (crop !== null) parts.push(`centre ${crop.width} × ${crop.height}`)
  parts.push(channels === 1 ? 'gray' : 'in colour', divide === 1 ? 'bytes as they are' : `pixels / ${divide}`)
  const normalised = mean.some(value => value !== 0) || std.some(value => value !== 1)
  if (normalised) parts.push(`mean ${mean.join(' ')}, std ${std.join(' ')}`)
  return parts.join(', ')
}

/** What a tokenizer gives for a text. */
export const TEXT_INPUTS: ReadonlySet<string> = new Set([
  'input_ids',
  'attention_mask',
  'token_type_ids',
  'position_ids',
])
const TOKENS: ReadonlySet<Datatype> = new Set(['INT64', 'INT32'])

/** Whether all inputs can be made from a text. */
export function takesText(inputs: readonly TensorMetadata[]): boolean {
  return (
    inputs.some(({ name }) => name === 'input_ids') &&
    inputs.every(
      ({ name, shape, datatype }) => TEXT_INPUTS.has(name) && shape.length === 2 && TOKENS.has(datatype),
    )
  )
}

/** Whether two models can be given the same inputs. */
export function sameInputs(a: readonly TensorMetadata[], b: readonly TensorMetadata[]): boolean {
  const text = (inputs: readonly TensorMetadata[]) =>
    JSON.stringify(inputs.map(({ name, datatype, shape }) => [name, datatype, shape]).sort())
  return text(a) === text(b)
}

/** `[1, 28, 28]`, with `?` where any size will do. */
export function formatPort(shape: readonly number[]): string {
  return `[${shape.map(dim => (dim < 0 ? '?' : dim)).join(', ')}]`
}
