/** A checkpoint file, open: its tensors by name, whatever the format. */

import { stat } from 'node:fs/promises'
import { InputError } from '../util/errors.ts'
import { loadModel, openSafetensors, type ModelFile } from '../serde/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, sameShape, type Shape } from '../tensor/shape.ts'
import { FileSource } from '../tensor/file-source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { modelWeights } from './model-weights.ts'
import { isPartial, readPartial, type Partial } from './partial.ts'

export type CheckpointFormat = 'onnx' | 'safetensors' | 'partial'

/** A tensor of a checkpoint; that of a partial has sums instead of elements. */
export interface CheckpointTensor {
  readonly dtype: DType
  readonly dims: Shape
  /** Null for sums. */
  readonly tensor: Tensor | null
  /** Why it is part of an ONNX graph and must be the same everywhere; null for weights. */
  readonly fixed: string | null
}

export interface Checkpoint {
  readonly path: string
  readonly format: CheckpointFormat
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly model: ModelFile | null
  readonly partial: Partial | null
  readonly close: () => Promise<void>
}

/** Opens a file by what it holds: safetensors (a partial average or not) by its header, everything else as ONNX. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  return (await looksLikeSafetensors(path)) ? openTensors(path) : openModel(path)
}

/** safetensors: a header length in eight bytes, then `{`. No protobuf of a model starts so. */
async function looksLikeSafetensors(path: string): Promise<boolean> {
  if (path.endsWith('.safetensors')) return true
  const source = await FileSource.open(path)
  try {
    if (source.byteLength < 9) return false
    const head = Buffer.from(await source.read(0, 9))
    return head[8] === 0x7b && head.readBigUInt64LE() <= BigInt(source.byteLength)
  } finally {
    await source.close()
  }
}

async function openModel(path: string): Promise<Checkpoint> {
  const model = await loadModel(path)
  // Bound, so that it does not keep the graph in memory.
  const close = model.close.bind(undefined)
  const tensors = new Map(
    modelWeights(model.model).map(({ name, tensor, fixed }) => [
      name,
      { dtype: tensor.dtype, dims: tensor.dims, tensor, fixed },
    ]),
  )
  return { path, format: 'onnx', tensors, model, partial: null, close }
}

async function openTensors(path: string): Promise<Checkpoint> {
  const file = await openSafetensors(path)
  const close = () => file.close()
  try {
    const plain = (tensor: Tensor, fixed: string | null = null) => ({
      ...{ dtype: tensor.dtype, dims: tensor.dims, tensor, fixed },
    })
    if (!isPartial(file)) {
      const tensors = new Map([...file.tensors].map(([name, tensor]) => [name, plain(tensor)]))
      return { path, format: 'safetensors', tensors, model: null, partial: null, close }
    }
    const partial = await readPartial(path, file)
    const tensors = new Map<string, CheckpointTensor>()
    for (const [name, { dtype, dims }] of partial.sums) {
      tensors.set(name, { dtype, dims, tensor: null, fixed: null })
    }
    for (const [name, tensor] of partial.last) tensors.set(name, plain(tensor, 'not averaged'))
    return { path, format: 'partial', tensors, model: null, partial, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** What tells that a file is not the one that was planned with. */
export interface FileStamp {
  readonly bytes: number
  readonly modified: number
}

export async function stampOf(path: string): Promise<FileStamp> {
  const { size, mtimeMs } = await stat(path)
  return { bytes: size, modified: mtimeMs }
}

/** Throws when two checkpoints do not have the same tensors; names the first difference. */
export function matchTensors(expected: Checkpoint, found: Checkpoint): void {
  for (const name of new Set([...expected.tensors.keys(), ...found.tensors.keys()])) {
    const [a, b] = [expected.tensors.get(name), found.tensors.get(name)]
    if (a && b && a.dtype === b.dtype && sameShape(a.dims, b.dims)) continue
    const text = (tensor: CheckpointTensor | undefined) =>
      tensor ? `${tensor.dtype}${formatShape(tensor.dims)}` : 'no such tensor'
    throw new InputError(
      `average: ${found.path}: tensor "${name}": expected ${text(a)} as in ${expected.path}, found ${text(b)}`,
      { cure: 'average checkpoints of one training run' },
    )
  }
}
