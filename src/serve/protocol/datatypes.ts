/** Datatypes of the Open Inference Protocol (and Triton's BF16) and the ONNX element types that they stand for. */

import { DTYPES, type DType } from '../../tensor/dtype.ts'

export const DATATYPES = {
  BOOL: 'bool',
  UINT8: 'uint8',
  UINT16: 'uint16',
  UINT32: 'uint32',
  UINT64: 'uint64',
  INT8: 'int8',
  INT16: 'int16',
  INT32: 'int32',
  INT64: 'int64',
  FP16: 'float16',
  BF16: 'bfloat16',
  FP32: 'float32',
  FP64: 'float64',
  BYTES: 'string',
} as const satisfies Record<string, DType>

export type Datatype = keyof typeof DATATYPES

export const DATATYPE_NAMES = Object.keys(DATATYPES) as readonly Datatype[]

const NAME_OF = new Map<DType, Datatype>(DATATYPE_NAMES.map(name => [DATATYPES[name], name]))

/** The protocol's name of an element type; null for those that it has none for (complex, float8, 4 bits). */
export function datatypeOf(dtype: DType): Datatype | null {
  return NAME_OF.get(dtype) ?? null
}

/** Datatypes without a JSON form: their elements travel as binary data only. */
export const BINARY_ONLY: ReadonlySet<Datatype> = new Set(['FP16', 'BF16'])

/** Triton's name of a datatype in model configurations. */
export function tritonType(datatype: Datatype): string {
  return `TYPE_${datatype === 'BYTES' ? 'STRING' : datatype}`
}

/** Bytes of one element; 0 for BYTES, whose elements carry their own lengths. */
export function elementBytes(datatype: Datatype): number {
  return DTYPES[DATATYPES[datatype]].bits / 8
}
