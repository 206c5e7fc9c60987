/** The generated message classes, and what they lack: strict decoding, 64-bit integers as bigint. */

import protobuf from 'protobufjs/minimal.js'
import Long from 'long'
import { InputError, invariant, messageOf } from '../util/errors.ts'
import { onnx } from './generated/onnx.js'
import { MARKER_FIELD } from './schema.ts'
import { encodeTag, VARINT } from './wire.ts'

export type ModelProto = onnx.ModelProto.$Properties
export type GraphProto = onnx.GraphProto.$Properties
export type NodeProto = onnx.NodeProto.$Properties
export type AttributeProto = onnx.AttributeProto.$Properties
export type TensorProto = onnx.TensorProto.$Properties
export type SparseTensorProto = onnx.SparseTensorProto.$Properties
export type ValueInfoProto = onnx.ValueInfoProto.$Properties
export type TypeProto = onnx.TypeProto.$Properties
export type TrainingInfoProto = onnx.TrainingInfoProto.$Properties
export type FunctionProto = onnx.FunctionProto.$Properties
export type StringStringEntryProto = onnx.StringStringEntryProto.$Properties
export type OperatorSetIdProto = onnx.OperatorSetIdProto.$Properties

/** An int64 as protobufjs reads it. */
type Int64 = number | { readonly low: number; readonly high: number }

/** Decodes an outline; unknown fields are kept. */
export function decodeModel(outline: Uint8Array, name: string): ModelProto {
  const reader = protobuf.Reader.create(outline)
  reader.discardUnknown = false
  try {
    return onnx.ModelProto.decode(reader)
  } catch (error) {
    throw new InputError(`${name}: not a valid ONNX file: ${messageOf(error)}`, {
      cause: error,
      cure: 'the file is damaged or no ONNX model; copy or export it again',
    })
  }
}

/** The key of an encoded StringStringEntryProto. */
export function decodeEntryKey(entry: Uint8Array): string {
  return onnx.StringStringEntryProto.decode(entry).key ?? ''
}

export function encodeModel(model: ModelProto): Uint8Array {
  return onnx.ModelProto.encode(model).finish()
}

export function toBigInt(value: Int64): bigint {
  if (typeof value === 'number') return BigInt(value)
  return BigInt.asIntN(64, (BigInt(value.high) << 32n) | BigInt(value.low >>> 0))
}

export function fromBigInt(value: bigint): Long {
  const low = Number(BigInt.asIntN(32, value))
  const high = Number(BigInt.asIntN(32, value >> 32n))
  return Long.fromBits(low, high)
}

/** An int64 that must be a safe integer, such as a dimension or a version. */
export function toNumber(value: Int64, what: string): number {
  const number = Number(toBigInt(value))
  if (!Number.isSafeInteger(number)) throw new InputError(`${what} is ${toBigInt(value)}, beyond 2^53`)
  return number
}

/** Whether a tensor's elements are in another file. */
export function isExternal(tensor: TensorProto): boolean {
  return tensor.data_location === onnx.TensorProto.DataLocation.EXTERNAL
}

const MARKER_TAG = encodeTag(MARKER_FIELD, VARINT)

/** Reads a tensor's marker: the index of its elements beside the outline. */
export function markerOf(tensor: TensorProto): number {
  const marker = tensor.$unknowns?.find(isMarker)
  invariant(marker, 'a tensor without marker')
  return protobuf.Reader.create(marker.subarray(MARKER_TAG.byteLength)).uint32()
}

export function isMarker(unknown: Uint8Array): boolean {
  return MARKER_TAG.every((byte, i) => unknown[i] === byte)
}

/** The unknown fields of a tensor with a marker in place of the one it may have. */
export function withMarker(unknowns: readonly Uint8Array[] | undefined, index: number): Uint8Array[] {
  const marker = protobuf.Writer.create()
    .uint32(MARKER_FIELD * 8 + VARINT)
    .uint32(index)
    .finish()
  return [marker, ...(unknowns ?? []).filter(unknown => !isMarker(unknown))]
}
