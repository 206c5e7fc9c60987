/** A model from disk or from a server, its weights still there. */

import { openSource } from '../remote/index.ts'
import { UsageError } from '../util/errors.ts'
import { isUrl, nameOf } from '../util/location.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { DeserializeOptions } from './deserialize.ts'
import { ExternalFiles } from './external-data.ts'
import { layoutOf, openModel, type ModelFile } from './model-file.ts'
import type { ExternalReader } from './read-tensor.ts'

/** Opens a model on disk; only its graph is read, weights are read when they are asked for. */
export async function loadModel(path: string, options: DeserializeOptions = {}): Promise<ModelFile> {
  if (isUrl(path)) {
    throw new UsageError(`read ${nameOf(path)}: expected the path of a local file`, {
      cure: 'download the file first; only averaging reads files on servers',
    })
  }
  return loadModelFrom(path, options)
}

/** As `loadModel`, also from a URL. */
export async function loadModelFrom(location: string, options: DeserializeOptions = {}): Promise<ModelFile> {
  const source = await openSource(location)
  const external = new ExternalFiles(location)
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
