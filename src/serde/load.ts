/** A model from disk, its weights still there. */

import { dirname } from 'node:path'
import { FileSource } from '../tensor/file-source.ts'
import type { ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { readModel, type DeserializeOptions } from './deserialize.ts'
import { ExternalFiles } from './external-data.ts'
import type { TensorPlace } from './read-tensors.ts'
import type { Scan } from './scan.ts'

/** An open model. Tensors of more than a KiB are ranges of its files, and can be read until `close`. */
export interface ModelFile {
  readonly path: string
  readonly model: Model
  close(): Promise<void>
}

/** What the patching writer knows about a model that it writes again. */
export interface FileLayout {
  readonly source: ByteSource
  readonly scan: Scan
  readonly places: ReadonlyMap<Tensor, TensorPlace>
}

const LAYOUTS = new WeakMap<ModelFile, FileLayout>()

/** Opens a model; only its graph is read, weights are read when they are asked for. */
export async function loadModel(path: string, options: DeserializeOptions = {}): Promise<ModelFile> {
  const source = await FileSource.open(path)
  const external = new ExternalFiles(dirname(path))
  const close = async () => {
    await external.close()
    await source.close()
  }
  try {
    const { model, scan, places } = await readModel(
      source,
      (entries, byteLength, where) => external.find(entries, byteLength, where),
      options,
    )
    const file: ModelFile = { path, model, close }
    LAYOUTS.set(file, { source, scan, places })
    return file
  } catch (error) {
    await close()
    throw error
  }
}

/** Where everything is in the file of a model that `loadModel` opened. */
export function layoutOf(file: ModelFile): FileLayout | undefined {
  return LAYOUTS.get(file)
}

/** A data file that a model uses. */
export interface ExternalDataUse {
  readonly path: string
  readonly tensors: number
  /** Bytes of these tensors; what several share counts for each. */
  readonly bytes: number
}

/** The data files of a model that `loadModel` opened, and which tensors' elements are in them. */
export function externalDataOf(file: ModelFile): {
  readonly files: readonly ExternalDataUse[]
  readonly tensors: ReadonlySet<Tensor>
} {
  const uses = new Map<string, ExternalDataUse>()
  const tensors = new Set<Tensor>()
  for (const [tensor, { external }] of LAYOUTS.get(file)?.places ?? []) {
    if (!external) continue
    const { source, length } = external
    const use = uses.get(source.name) ?? { path: source.name, tensors: 0, bytes: 0 }
    uses.set(source.name, { ...use, tensors: use.tensors + 1, bytes: use.bytes + length })
    tensors.add(tensor)
  }
  return { files: [...uses.values()], tensors }
}
