/** TensorProto -> Tensor: elements from raw_data, from a typed field or from another file. */

import { concatBytes } from '../util/bytes.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import { byteLengthOf, dtypeOfOnnx, type DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf } from '../tensor/shape.ts'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import { Tensor, type TensorData } from '../tensor/tensor.ts'
import { RESIDENT_LIMIT } from './limits.ts'
import { isExternal, toNumber, type StringStringEntryProto, type TensorProto } from './proto.ts'
import type { Payload, TensorSite } from './scan.ts'
import { PAYLOAD_FIELDS, RAW_DATA_FIELD } from './schema.ts'
import { decodeVarints, packRun, typedFieldOf } from './typed-data.ts'
import { VarintSource } from './varint-source.ts'
import { BYTES, VARINT } from './wire.ts'

/** Finds the bytes of a tensor that is stored outside the model; fails when the tensor may not be there. */
export type ExternalReader = (
  entries: readonly StringStringEntryProto[],
  byteLength: number,
  where: string,
) => Promise<ByteRange>

export interface TensorContext {
  /** The file that was scanned. */
  readonly source: ByteSource
  readonly external: ExternalReader
}

export interface FileTensor {
  readonly tensor: Tensor
  /** Where in another file its elements are; null when they are in the model. */
  readonly external: ByteRange | null
}

/** Reads one tensor; `label` names it in messages, e.g. `initializer "w"`. */
export async function readTensor(
  proto: TensorProto,
  site: TensorSite,
  context: TensorContext,
  label: string,
): Promise<FileTensor> {
  const name = `${context.source.name}: ${label}`
  if (proto.segment) throw new UnsupportedError(`${name}: a tensor in segments is not supported`)
  const dtype = dtypeOfOnnx(proto.data_type ?? 0, name)
  const dims = (proto.dims ?? []).map(dim => toNumber(dim, `${name}: a dimension`))
  if (dims.some(dim => dim < 0) || !Number.isSafeInteger(sizeOf(dims) * 16)) {
    throw new InputError(`${name}: the shape ${formatShape(dims)} is impossible`)
  }
  const where = `${name}: ${dtype}${formatShape(dims)}`
  if (dtype === 'string') {
    return { tensor: new Tensor(dtype, dims, readStrings(proto, site, sizeOf(dims), where)), external: null }
  }
  const byteLength = byteLengthOf(dtype, sizeOf(dims))
  if (proto.string_data?.length) throw new InputError(`${where}: string_data in a tensor of numbers`)
  if (!isExternal(proto)) {
    const data = await readInline(dtype, site, byteLength, context.source, where)
    return { tensor: new Tensor(dtype, dims, data), external: null }
  }
  if (filled(site).length > 0)
    throw new InputError(`${where}: elements both in the model and in another file`)
  const external = await context.external(proto.external_data ?? [], byteLength, where)
  // Small elements are fetched at once, as those of the model file itself are.
  const { source, offset, length } = external
  const data = byteLength <= RESIDENT_LIMIT ? await source.read(offset, length) : external
  return { tensor: new Tensor(dtype, dims, data), external }
}

function readStrings(proto: TensorProto, site: TensorSite, count: number, where: string): Uint8Array[] {
  if (isExternal(proto) || filled(site).length > 0) {
    throw new InputError(`${where}: strings must be in string_data`)
  }
  const found = proto.string_data?.length ?? 0
  if (found !== count) throw new InputError(`${where}: expected ${count} strings, found ${found}`)
  return proto.string_data ?? []
}

async function readInline(
  dtype: DType,
  site: TensorSite,
  byteLength: number,
  source: ByteSource,
  where: string,
): Promise<TensorData> {
  const payloads = filled(site)
  const [first] = payloads
  if (first === undefined) {
    if (byteLength > 0) throw new InputError(`${where}: expected ${byteLength} bytes, the tensor is empty`)
    return new Uint8Array(0)
  }
  const other = payloads.find(payload => payload.field !== first.field)
  if (other) {
    const fields = [first, other].map(payload => PAYLOAD_FIELDS[payload.field]).join(' and in ')
    throw new InputError(`${where}: elements both in ${fields}`)
  }
  if (first.field === RAW_DATA_FIELD) {
    const raw = payloads.at(-1)! // protobuf: of a field that occurs twice the last counts
    if (raw.wireType !== BYTES) throw new InputError(`${where}: raw_data is not bytes`)
    return sized(raw, byteLength, source, where)
  }
  return readTyped(dtype, payloads, byteLength, source, where)
}

async function readTyped(
  dtype: DType,
  payloads: readonly Payload[],
  byteLength: number,
  source: ByteSource,
  where: string,
): Promise<TensorData> {
  const { field, wireType, width } = typedFieldOf(dtype)
  const [first] = payloads
  if (first!.field !== field) {
    const [expected, found] = [PAYLOAD_FIELDS[field], PAYLOAD_FIELDS[first!.field]]
    throw new InputError(`${where}: elements expected in ${expected} or raw_data, found in ${found}`)
  }
  const stray = payloads.find(payload => payload.wireType !== BYTES && payload.wireType !== wireType)
  if (stray)
    throw new InputError(`${where}: ${PAYLOAD_FIELDS[field]} has the wrong wire type ${stray.wireType}`)
  const count = byteLength / width
  // 1. One packed field, as every writer makes it: numbers of fixed width are the tensor's bytes already.
  if (payloads.length === 1 && first!.wireType === BYTES) {
    if (wireType !== VARINT) return sized(first!, byteLength, source, where)
    if (first!.bytes) return decodeVarints(first!.bytes, width, count, where)
    const lazy = await VarintSource.open(where, contentOf(first!, source), width, count)
    return { source: lazy, offset: 0, length: byteLength }
  }
  // 2. Several fields or single numbers, which readers must accept: put together in memory. Each number takes a byte
  //    in the file at least, which bounds what is read before the count is checked.
  const parts: Uint8Array[] = []
  for (const payload of payloads) {
    const range = contentOf(payload, source)
    const bytes = payload.bytes ?? (await source.read(range.offset, range.length))
    parts.push(payload.wireType === BYTES ? bytes : packRun(bytes, payload.wireType, where))
  }
  const packed = concatBytes(parts)
  if (wireType === VARINT) return decodeVarints(packed, width, count, where)
  if (packed.byteLength !== byteLength) throw wrongLength(where, byteLength, packed.byteLength)
  return packed
}

/** The content of a field as data, once its length is right. */
function sized(payload: Payload, byteLength: number, source: ByteSource, where: string): TensorData {
  const range = contentOf(payload, source)
  if (range.length !== byteLength) throw wrongLength(where, byteLength, range.length)
  return payload.bytes ?? range
}

function contentOf(payload: Payload, source: ByteSource): ByteRange {
  return { source, offset: payload.contentStart, length: payload.end - payload.contentStart }
}

/** Payloads that hold something: writers of old protobuf versions emit empty fields. */
export function filled(site: TensorSite): Payload[] {
  return site.payloads.filter(payload => payload.end > payload.contentStart)
}

function wrongLength(where: string, expected: number, found: number): InputError {
  return new InputError(`${where}: expected ${expected} bytes of elements, found ${found}`)
}
