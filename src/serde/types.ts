/** TypeProto <-> ValueType: dense tensor types are interpreted, all others described and carried. */

import { invariant } from '../util/errors.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import type { Dim, ValueType } from '../ir/value.ts'
import { toNumber, type TypeProto } from './proto.ts'

const NAMES = new Map(Object.entries(DTYPES).map(([name, info]) => [info.onnx, name as DType]))

/** The type of a value as the IR has it; null when the file does not say. */
export function deserializeType(proto: TypeProto | null | undefined, where: string): ValueType | null {
  if (!proto) return null
  const tensor = proto.tensor_type
  const dtype = tensor ? NAMES.get(tensor.elem_type ?? 0) : undefined
  if (!tensor || !dtype) {
    const known = tensor ?? proto.sequence_type ?? proto.map_type ?? proto.optional_type
    const other = proto.sparse_tensor_type ?? proto.opaque_type
    return known || other ? { kind: 'opaque', description: describeType(proto) } : null
  }
  const shape = tensor.shape?.dim?.map((dim, axis): Dim => {
    if (dim.dim_param) return dim.dim_param
    if (dim.dim_value === null || dim.dim_value === undefined) return null
    const size = toNumber(dim.dim_value, `${where}: dimension ${axis}`)
    return size < 0 ? null : size // some exporters write -1 for unknown
  })
  return { kind: 'tensor', dtype, shape: tensor.shape ? (shape ?? []) : null }
}

function describeType(proto: TypeProto | null | undefined): string {
  const dtype = (code: number | null | undefined) => NAMES.get(code ?? 0) ?? `type ${code ?? 0}`
  if (proto?.tensor_type) return `tensor(${dtype(proto.tensor_type.elem_type)})`
  if (proto?.sequence_type) return `seq(${describeType(proto.sequence_type.elem_type)})`
  if (proto?.optional_type) return `optional(${describeType(proto.optional_type.elem_type)})`
  if (proto?.sparse_tensor_type) return `sparse_tensor(${dtype(proto.sparse_tensor_type.elem_type)})`
  if (proto?.map_type)
    return `map(${dtype(proto.map_type.key_type)},${describeType(proto.map_type.value_type)})`
  if (proto?.opaque_type) return `opaque(${proto.opaque_type.domain ?? ''},${proto.opaque_type.name ?? ''})`
  return '?'
}

/** A dense tensor type as a message; other types exist only as the file had them. */
export function serializeType(type: ValueType, where: string): TypeProto {
  invariant(type.kind === 'tensor', `${where}: its type was in no file and is not a dense tensor`)
  const dim = type.shape?.map(size =>
    typeof size === 'number' ? { dim_value: size } : typeof size === 'string' ? { dim_param: size } : {},
  )
  return { tensor_type: { elem_type: DTYPES[type.dtype].onnx, ...(dim ? { shape: { dim } } : {}) } }
}
