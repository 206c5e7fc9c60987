/** What a served model takes and gives, in the words of the protocol. */

import type { DType } from '../../tensor/dtype.ts'
import type { Shape } from '../../tensor/shape.ts'
import { elementBytes, type Datatype } from './datatypes.ts'
import { invalid, quoted } from './errors.ts'
import type { TensorMetadata } from './schemas.ts'

export interface PortSpec {
  readonly name: string
  readonly datatype: Datatype
  readonly dtype: DType
  /** null: any size. A null shape is one that the model does not declare: any rank. */
  readonly shape: readonly (number | null)[] | null
}

export interface Signature {
  readonly inputs: readonly PortSpec[]
  readonly outputs: readonly PortSpec[]
}

/** What a tensor of a request may be at most. */
export interface TensorLimits {
  readonly rank: number
  readonly elements: number
  readonly decodedBytes: number
}

export function tensorMetadata({ name, datatype, shape }: PortSpec): TensorMetadata {
  return { name, datatype, shape: (shape ?? [null]).map(dim => dim ?? -1) }
}

/** The port of a name; an unknown one is the client's error. */
export function portNamed(ports: readonly PortSpec[], name: string, kind: 'input' | 'output'): PortSpec {
  const port = ports.find(candidate => candidate.name === name)
  if (port !== undefined) return port
  const known = ports.map(({ name }) => quoted(name)).join(', ')
  throw invalid(`unexpected inference ${kind} ${quoted(name)}, the model has ${known}`)
}

/** A BYTES element takes so much memory beside its bytes, however short it is. */
const STRING_OVERHEAD = 64

/** Bytes of memory that so many elements take at least. */
export function memoryOf(datatype: Datatype, elements: number): number {
  return elements * (datatype === 'BYTES' ? STRING_OVERHEAD : elementBytes(datatype))
}

/** Checks a shape against what the model declares and against the limits; gives the number of elements. */
export function checkShape(port: PortSpec, dims: Shape, limits: TensorLimits): number {
  const where = `input ${quoted(port.name)}`
  const found = `[${dims.slice(0, 32).join(',')}]`
  if (dims.length > limits.rank) throw invalid(`${where}: rank ${dims.length}, the most is ${limits.rank}`)
  const { shape } = port
  if (
    shape !== null &&
    (shape.length !== dims.length || shape.some((dim, i) => dim !== null && dim !== dims[i]))
  ) {
    throw invalid(`${where}: expected shape [${shape.map(dim => dim ?? -1).join(',')}], found ${found}`)
  }
  let elements = 1
  for (const dim of dims) elements *= dim
  // The product of large sizes with a zero is no larger for it.
  if (!(dims.reduce((product, dim) => product * Math.max(dim, 1), 1) <= limits.elements)) {
    throw invalid(`${where}: shape ${found} has more than ${limits.elements} elements`)
  }
  const bytes = memoryOf(port.datatype, elements)
  if (bytes > limits.decodedBytes) {
    throw invalid(`${where}: shape ${found} has ${bytes} bytes, the most is ${limits.decodedBytes}`)
  }
  return elements
}
