/** A checkpoint file, open: its tensors by name, whatever the format. */

import { InputError, UnsupportedError } from '../util/errors.ts'
import { nameOf } from '../util/location.ts'
import { openSource, stampFiles, type FileStamp } from '../remote/index.ts'
import {
  loadModelFrom,
  openSafetensors,
  openTorchFile,
  readZipDirectory,
  type ModelFile,
} from '../serde/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, sameShape, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { modelWeights } from './model-weights.ts'
import { openNpzTensors } from './npz-tensors.ts'
import { isPartial, readPartial, type Partial } from './partial.ts'
import { isIndex, openShards, readIndex } from './shards.ts'

export type CheckpointFormat = 'onnx' | 'safetensors' | 'torch' | 'npz' | 'partial'

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
  /** What a safetensors file says about itself. */
  readonly metadata: ReadonlyMap<string, string>
  readonly close: () => Promise<void>
}

/**
 * Opens a path or URL by what the file holds: safetensors (a partial average or not) by its header, PyTorch's and NumPy's
 * by that of a zip archive and its members, everything else as ONNX.
 */
export async function openCheckpoint(location: string): Promise<Checkpoint> {
  const path = nameOf(location)
  if (path.endsWith('.safetensors')) return openTensors(path)
  if (isIndex(path)) {
    const { tensors, close } = await openShards(path)
    return { ...NOTHING, path, format: 'safetensors', tensors: plainTensors(tensors), close }
  }
  const head = await headOf(path)
  if (isSafetensors(head)) return openTensors(path)
  if (head.bytes.subarray(0, 2).equals(PICKLE)) {
    throw new UnsupportedError(`average: ${path}: a pickle, as PyTorch wrote before 1.6, is not read`, {
      cure: 'load it with torch.load and save it again with torch.save',
    })
  }
  return head.bytes.subarray(0, 4).equals(ZIP) ? openArchive(path) : openModel(path)
}

/** What most checkpoints do not have. */
const NOTHING = { model: null, partial: null, metadata: new Map<string, string>() }

/** The first member of a zip archive. */
const ZIP = Buffer.from('PK\x03\x04', 'latin1')
/** A bare pickle of protocol 2; no protobuf of a model starts so. */
const PICKLE = Buffer.from([0x80, 2])
const HEAD = 9

interface Head {
  readonly bytes: Buffer
  readonly fileLength: number
}

async function headOf(path: string): Promise<Head> {
  const source = await openSource(path)
  try {
    const bytes = Buffer.from(await source.read(0, Math.min(HEAD, source.byteLength)))
    return { bytes, fileLength: source.byteLength }
  } finally {
    await source.close()
  }
}

/** A header length in eight bytes, then `{`. No protobuf of a model starts so. */
function isSafetensors({ bytes, fileLength }: Head): boolean {
  return bytes.length === HEAD && bytes[8] === 0x7b && bytes.readBigUInt64LE() <= BigInt(fileLength)
}

async function openArchive(path: string): Promise<Checkpoint> {
  const format = (await isNpz(path)) ? 'npz' : 'torch'
  const file = await (format === 'npz' ? openNpzTensors(path) : openTorchFile(path))
  return { ...NOTHING, path, format, tensors: plainTensors(file.tensors), close: () => file.close() }
}

async function isNpz(path: string): Promise<boolean> {
  const source = await openSource(path)
  try {
    return (await readZipDirectory(source)).every(({ name }) => name.endsWith('.npy'))
  } finally {
    await source.close()
  }
}

function plainTensors(tensors: ReadonlyMap<string, Tensor>): Map<string, CheckpointTensor> {
  return new Map([...tensors].map(([name, tensor]) => [name, plain(tensor)]))
}

function plain(tensor: Tensor, fixed: string | null = null): CheckpointTensor {
  return { dtype: tensor.dtype, dims: tensor.dims, tensor, fixed }
}

async function openModel(path: string): Promise<Checkpoint> {
  const model = await loadModelFrom(path)
  // Bound, so that it does not keep the graph in memory.
  const close = model.close.bind(undefined)
  const tensors = new Map(
    modelWeights(model.model).map(({ name, tensor, fixed }) => [name, plain(tensor, fixed)]),
  )
  return { ...NOTHING, path, format: 'onnx', tensors, model, close }
}

async function openTensors(path: string): Promise<Checkpoint> {
  const file = await openSafetensors(path)
  const close = () => file.close()
  try {
    if (!isPartial(file)) {
      const { metadata } = file
      return { ...NOTHING, path, format: 'safetensors', tensors: plainTensors(file.tensors), metadata, close }
    }
    const partial = await readPartial(path, file)
    const tensors = new Map<string, CheckpointTensor>()
    for (const [name, { dtype, dims }] of partial.sums) {
      tensors.set(name, { dtype, dims, tensor: null, fixed: null })
    }
    for (const [name, tensor] of partial.last) tensors.set(name, plain(tensor, 'not averaged'))
    return { ...NOTHING, path, format: 'partial', tensors, partial, close }
  } catch (error) {
    await close()
    throw error
  }
}

export type { FileStamp }

/** A checkpoint whose tensors have other names; those that are not named keep theirs. */
export function renameTensors<Kind extends Pick<Checkpoint, 'tensors'>>(
  checkpoint: Kind,
  renames: readonly (readonly [own: string, name: string])[] | undefined,
): Kind {
  if (!renames || renames.length === 0) return checkpoint
  const names = new Map(renames)
  const tensors = new Map([...checkpoint.tensors].map(([own, tensor]) => [names.get(own) ?? own, tensor]))
  return { ...checkpoint, tensors }
}

/** What tells that a checkpoint is not the one that was planned with: of one in several files, all of them. */
export async function stampOf(path: string): Promise<FileStamp> {
  return stampFiles(isIndex(path) ? [path, ...(await readIndex(path)).files] : [path])
}

/** Throws when a file is not the one that was planned with. */
export async function checkStamp({
  path,
  bytes,
  modified,
}: FileStamp & { readonly path: string }): Promise<void> {
  const found = await stampOf(path)
  if (found.bytes === bytes && found.modified === modified) return
  throw new InputError(
    `average: ${path} has changed since the average was planned (${bytes} bytes then, ${found.bytes} now)`,
    { cure: 'run the command again when the file is complete' },
  )
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
