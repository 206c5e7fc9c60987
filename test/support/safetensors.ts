/** Reads the reference tensors of fixtures: the eight-byte header length, the JSON header, the packed tensors. */

import { readFileSync } from 'node:fs'
import type { DType } from '../../src/tensor/dtype.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const DTYPES: Readonly<Record<string, DType>> = {
  F32: 'float32',
  F64: 'float64',
  I64: 'int64',
  I32: 'int32',
  U8: 'uint8',
}

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

export function readSafetensors(path: string): Map<string, Tensor> {
  const bytes = readFileSync(path)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, Entry>
  const tensors = new Map<string, Tensor>()
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const data = new Uint8Array(bytes.subarray(start + range[0], start + range[1]))
    tensors.set(name, new Tensor(DTYPES[dtype]!, shape, data))
  }
  return tensors
}
