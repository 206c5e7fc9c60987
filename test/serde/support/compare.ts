/** Compares two encoded models as messages: fields, unknown fields, and the elements of tensors however stored. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type Long from 'long'
import protobuf from 'protobufjs/minimal.js'
import { onnx } from '../../../src/serde/generated/onnx.js'

type Message = Record<string, unknown> & { $unknowns?: Uint8Array[] }

/** Decodes with protobufjs alone: nothing of the reader under test. */
export function decodeWhole(bytes: Uint8Array): onnx.ModelProto.$Properties {
  const reader = protobuf.Reader.create(bytes)
  reader.discardUnknown = false
  return onnx.ModelProto.decode(reader)
}

/** A model on disk, to be compared; `folder` is where its data files are. */
export interface StoredModel {
  readonly bytes: Uint8Array
  readonly folder: string
}

/** All differences, as `path: a | b` lines. */
export function differences(a: StoredModel, b: StoredModel): string[] {
  const found: string[] = []
  const report = (path: string, x: unknown, y: unknown) => found.push(`${path}: ${show(x)} | ${show(y)}`)
  const compare = (x: unknown, y: unknown, path: string): void => {
    if (Array.isArray(x) && Array.isArray(y) && x.length === y.length) {
      x.forEach((item, i) => compare(item, y[i], `${path}[${i}]`))
    } else if (isPlain(x) && isPlain(y)) {
      for (const key of new Set([...Object.keys(x), ...Object.keys(y)]))
        compare(x[key], y[key], `${path}.${key}`)
    } else if (!Object.is(x, y)) report(path, x, y)
  }
  compare(normalize(decodeWhole(a.bytes), a.folder), normalize(decodeWhole(b.bytes), b.folder), 'model')
  return found
}

function show(value: unknown): string {
  return value === undefined ? 'absent' : JSON.stringify(value)
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function normalize(value: unknown, folder: string): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map(item => normalize(item, folder))
  if (typeof value !== 'object' || value === null) return value
  if ('low' in value && 'high' in value) return (value as Long).toString()
  const message = value as Message
  const fields: Record<string, unknown> = {}
  for (const [name, content] of Object.entries(message)) {
    if (Array.isArray(content) && content.length === 0) continue
    fields[name] = normalize(content, folder)
  }
  if (message.$unknowns)
    fields['$unknowns'] = message.$unknowns.map(field => Buffer.from(field).toString('hex')).sort()
  if (value instanceof onnx.TensorProto) {
    for (const name of STORAGE) Reflect.deleteProperty(fields, name)
    fields['elements'] = Buffer.from(elementsOf(value, folder)).toString('hex')
  }
  return fields
}

const STORAGE = [
  ...['raw_data', 'float_data', 'int32_data', 'int64_data', 'double_data', 'uint64_data'],
  ...['external_data', 'data_location'],
]

const DataType = onnx.TensorProto.DataType
const WIDE = new Set<number>([DataType.INT32])
const TWO_BYTES = new Set<number>([DataType.INT16, DataType.UINT16, DataType.FLOAT16, DataType.BFLOAT16])

/** The packed elements, by the specification of TensorProto. */
export function elementsOf(tensor: onnx.TensorProto.$Properties, folder: string): Uint8Array {
  if (tensor.data_location === onnx.TensorProto.DataLocation.EXTERNAL) {
    const entry = new Map((tensor.external_data ?? []).map(({ key, value }) => [key, value ?? '']))
    const start = Number(entry.get('offset') ?? 0)
    return readFileSync(join(folder, entry.get('location')!)).subarray(
      start,
      start + Number(entry.get('length')),
    )
  }
  const bits = (values: readonly (number | { toString(): string })[]) =>
    BigUint64Array.from(values, value => BigInt.asUintN(64, BigInt(String(value))))
  const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  if (tensor.raw_data?.length) return tensor.raw_data
  if (tensor.float_data?.length) return bytesOf(Float32Array.from(tensor.float_data))
  if (tensor.double_data?.length) return bytesOf(Float64Array.from(tensor.double_data))
  if (tensor.int64_data?.length) return bytesOf(bits(tensor.int64_data))
  if (tensor.uint64_data?.length) {
    const wide = bits(tensor.uint64_data)
    return tensor.data_type === DataType.UINT32 ? bytesOf(Uint32Array.from(wide, Number)) : bytesOf(wide)
  }
  const narrow = tensor.int32_data ?? []
  const type = tensor.data_type ?? 0
  if (WIDE.has(type)) return bytesOf(Int32Array.from(narrow))
  return TWO_BYTES.has(type) ? bytesOf(Uint16Array.from(narrow)) : Uint8Array.from(narrow)
}
