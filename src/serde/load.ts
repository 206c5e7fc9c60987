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
