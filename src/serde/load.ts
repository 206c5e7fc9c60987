/** A model from disk, its weights still there. */

import { dirname } from 'node:path'
import { FileSource } from '../tensor/file-source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { DeserializeOptions } from './deserialize.ts'
import { ExternalFiles } from './external-data.ts'
import { layoutOf, openModel, type ModelFile } from './model-file.ts'
import type { ExternalReader } from './read-tensor.ts'

/** Opens a model; only its graph is read, weights are read when they are asked for. */
export async function loadModel(path: string, options: DeserializeOptions = {}): Promise<ModelFile> {
  const source = await FileSource.open(path)
  const external = new ExternalFiles(dirname(path))
  const close = async () => {
    await external.close()
    await source.close()
  }
  try {
    const find: ExternalReader = (entries, byteLength, where) => external.find(entries, byteLength, where)
    return await openModel(source, find, close, options)
  } catch (error) {
    await close()
    throw error
  }
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
  for (const [tensor, { external }] of layoutOf(file)?.places ?? []) {
    if (!external) continue
    const { source, length } = external
    const use = uses.get(source.name) ?? { path: source.name, tensors: 0, bytes: 0 }
    uses.set(source.name, { ...use, tensors: use.tensors + 1, bytes: use.bytes + length })
    tensors.add(tensor)
  }
  return { files: [...uses.values()], tensors }
}
