/** Inputs as JSON: the `inputs` of an inference request, a whole request, or the nested arrays of the only input. */

import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { BINARY_ONLY, DATATYPES, type Datatype } from '../protocol/datatypes.ts'
import { tensorOfJson } from '../protocol/json-elements.ts'
import type { PagePort } from '../http/page-messages.ts'
import type { TensorMetadata } from '../protocol/schemas.ts'
import { checkShape, portNamed, type PortSpec } from '../protocol/signature.ts'
import type { Tensors } from './tensors.ts'

/** Elements that an example writes out. */
const MOST_WRITTEN = 20_000
/** The size of an open dimension in an example: sides of images, and others. */
const OPEN_SIDE = 224
const OPEN_LENGTH = 8
/** The server has limits of its own. */
const NO_LIMITS = { rank: 16, elements: 2 ** 31, decodedBytes: 2 ** 31 }

/** An input that the model would take; null where there are too many elements to write out. */
export function exampleJson(inputs: readonly TensorMetadata[]): string | null {
  const rows = inputs.map(({ name, datatype, shape }) => {
    const dims = exampleDims(shape)
    return { name, datatype, shape: dims, size: sizeOf(dims) }
  })
  if (rows.reduce((sum, { size }) => sum + size, 0) > MOST_WRITTEN) return null
  const texts = rows.map(({ name, datatype, shape, size }) => {
    const data = Array.from({ length: size }, (_, i) => exampleElement(datatype, i))
    return JSON.stringify({ name, datatype, shape, data })
  })
  return `[\n  ${texts.join(',\n  ')}\n]`
}

function exampleDims(shape: readonly number[]): number[] {
  const open = shape.length === 4 ? OPEN_SIDE : OPEN_LENGTH
  return shape.map((dim, i) => (dim >= 0 ? dim : i === 0 ? 1 : open))
}

/** Ones for integers: a token that is in every vocabulary, and a mask that hides nothing. */
function exampleElement(datatype: Datatype, i: number): number | boolean | string {
  if (datatype === 'BYTES') return `text ${i + 1}`
  if (datatype === 'BOOL') return true
  return DATATYPES[datatype].startsWith('float') || datatype === 'BF16' ? ((37 * i) % 101) / 100 : 1
}

/** Of what a person wrote only the name is sure. */
interface JsonInput {
  readonly name: string
  readonly datatype?: unknown
  readonly shape?: unknown
  readonly data?: unknown
}

/** The tensors of a text; throws what is wrong with it. */
export function parseJsonInputs(text: string, inputs: readonly PagePort[]): Tensors {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Error(`the text is no JSON: ${error instanceof Error ? error.message : ''}`, { cause: error })
  }
  const whole = (value as { inputs?: unknown } | null)?.inputs
  const given = Array.isArray(whole) ? (whole as unknown[]) : value
  const ports = inputs.map(portOf)
  const rows = isRows(given) ? given : [onlyInput(given, inputs)]
  const tensors = new Map<string, Tensor>()
  for (const row of rows) {
    const port = portNamed(ports, row.name, 'input')
    const where = `input "${row.name}"`
    if (tensors.has(row.name)) throw new Error(`${where} is given twice`)
    if (row.datatype !== undefined && row.datatype !== port.datatype) {
      throw new Error(`${where}: expected datatype ${port.datatype}, found ${JSON.stringify(row.datatype)}`)
    }
    tensors.set(row.name, tensorOf(port, shapeOf(row, where), row.data, where))
  }
  const missing = ports.filter(({ name }) => !tensors.has(name)).map(({ name }) => name)
  if (missing.length > 0) throw new Error(`expected ${ports.length} inputs, missing: ${missing.join(', ')}`)
  return tensors
}

function isRows(value: unknown): value is JsonInput[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(row => typeof (row as { name?: unknown } | null)?.name === 'string')
  )
}

/** Nested arrays are the only input; the dimension of samples may be left out. */
function onlyInput(data: unknown, inputs: readonly PagePort[]): JsonInput {
  const [input, ...more] = inputs
  if (!Array.isArray(data) || input === undefined || more.length > 0) {
    throw new Error(
      inputs.length === 1
        ? 'expected an array of numbers, or of inputs with "name", "shape" and "data"'
        : `expected an array of ${inputs.length} inputs with "name", "shape" and "data"`,
    )
  }
  const nested = nestedShape(data)
  const { shape: declared, anyRank } = input
  const oneSample = !anyRank && nested.length === declared.length - 1 && [-1, 1].includes(declared[0]!)
  const shape = oneSample ? [1, ...nested] : nested
  return { name: input.name, shape, data: oneSample ? [data] : data }
}

/** By the first element of each level; that the others are alike is seen when they are read. */
function nestedShape(data: unknown): number[] {
  const shape: number[] = []
  for (let level = data; Array.isArray(level); level = (level as unknown[])[0]) shape.push(level.length)
  return shape
}

function shapeOf({ shape, data }: JsonInput, where: string): readonly number[] {
  const given = shape ?? nestedShape(data)
  const isSize = (dim: unknown) => Number.isSafeInteger(dim) && (dim as number) >= 0
  if (Array.isArray(given) && given.every(isSize)) return given as number[]
  throw new Error(`${where}: shape: expected a list of sizes, found ${JSON.stringify(given)}`)
}

function tensorOf(port: PortSpec, dims: readonly number[], data: unknown, where: string): Tensor {
  checkShape(port, dims, NO_LIMITS)
  if (data === undefined) throw new Error(`${where} has no data`)
  if (port.datatype.endsWith('INT64')) checkExact(data, where)
  const bytes = new TextEncoder().encode(JSON.stringify(data))
  const half = BINARY_ONLY.has(port.datatype)
  const span = { start: 0, end: bytes.byteLength }
  const tensor = tensorOfJson(bytes, span, half ? 'FP64' : port.datatype, dims, where)
  return half ? Tensor.of(port.dtype, dims, tensor.toNumbers()) : tensor
}

/** JSON.parse has rounded integers beyond 2^53 without a word. */
function checkExact(data: unknown, where: string): void {
  const level: unknown[] = Array.isArray(data) ? (data as unknown[]).flat(Infinity) : []
  const bad = level.find(
    value => typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value),
  )
  if (bad !== undefined) throw new Error(`${where}: integers beyond 2^53 are not exact in this page`)
}

function portOf({ name, datatype, shape, anyRank }: PagePort): PortSpec {
  const dims = anyRank ? null : shape.map(dim => (dim < 0 ? null : dim))
  return { name, datatype, dtype: DATATYPES[datatype], shape: dims }
}
