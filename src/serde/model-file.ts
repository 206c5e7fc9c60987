/** An open model: its graph, and where everything is in the bytes that it came from. */

import type { Model } from '../ir/graph.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { readModel, refuseExternal, type DeserializeOptions } from './deserialize.ts'
import type { ExternalReader } from './read-tensor.ts'
import type { TensorPlace } from './read-tensors.ts'
import type { Scan } from './scan.ts'

/** An open model. Tensors of more than a KiB are ranges of its files, and can be read until `close`. */
export interface ModelFile {
  /** For messages: the path, or the name of what is in memory. */
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

/** Opens the model of a source; only its graph is read. `close` is called with the model's. */
export async function openModel(
  source: ByteSource,
  external: ExternalReader,
  close: () => Promise<void>,
  options: DeserializeOptions = {},
): Promise<ModelFile> {
  const { model, scan, places } = await readModel(source, external, options)
  const file: ModelFile = { path: source.name, model, close }
  LAYOUTS.set(file, { source, scan, places })
  return file
}

/** Opens a model that is in memory, all of its weights inside; the bytes must not change afterwards. */
export function openModelBytes(bytes: Uint8Array, name = 'model'): Promise<ModelFile> {
  const source = new MemorySource(bytes, name)
  return openModel(source, refuseExternal, () => source.close())
}

/** Where everything is in the file of an open model. */
export function layoutOf(file: ModelFile): FileLayout | undefined {
  return LAYOUTS.get(file)
}
