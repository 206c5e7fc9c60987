/** Checkpoints in several safetensors files, with the index that Hugging Face's libraries write beside them. */

import { basename } from 'node:path'
import { openSource } from '../remote/index.ts'
import { openSafetensors, type Safetensors } from '../serde/index.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, messageOf } from '../util/errors.ts'
import { beside } from '../util/location.ts'

const ENDING = '.safetensors.index.json'
const SHARD = /-\d+-of-\d+\.safetensors$/

export function isIndex(path: string): boolean {
  return path.endsWith(ENDING)
}

/** Whether a file name is that of one part of several. */
export function isShard(name: string): boolean {
  return SHARD.test(name)
}

interface Index {
  /** Tensor -> path or name of its file. */
  readonly places: ReadonlyMap<string, string>
  readonly files: readonly string[]
}

/** Reads `{"weight_map": {tensor: file}}`; files lie beside the index. */
export async function readIndex(path: string): Promise<Index> {
  const text = await readText(path)
  let map: unknown
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map
  } catch (error) {
    throw new InputError(`average: ${path} is no index of safetensors: ${messageOf(error)}`, { cause: error })
  }
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new InputError(`average: ${path} is no index of safetensors: it has no weight_map`)
  const places = new Map<string, string>()
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file !== basename(file) || /^\.{0,2}$|\\/.test(file)) {
      throw new InputError(
        `average: ${path}: tensor "${tensor}": expected the name of a file beside the index, found ${JSON.stringify(file)}`,
      )
    }
    places.set(tensor, beside(path, file))
  }
  return { places, files: [...new Set(places.values())].sort() }
}

/** An index has a line for each tensor; what is larger is none. */
const LARGEST_INDEX = 2 ** 28

async function readText(path: string): Promise<string> {
  const source = await openSource(path)
  try {
    const { byteLength } = source
    if (byteLength > LARGEST_INDEX)
      throw new InputError(`average: ${path} is no index of safetensors: it has ${byteLength} bytes`)
    return Buffer.from(await source.read(0, byteLength)).toString('utf8')
  } finally {
    await source.close()
  }
}

/** Opens all parts; their tensors are ranges of them until `close`. */
export async function openShards(path: string): Promise<Pick<Safetensors, 'tensors' | 'close'>> {
  const { places, files } = await readIndex(path)
  const open: Safetensors[] = []
  const close = async () => {
    for (const file of open) await file.close()
  }
  try {
    const found = new Map<string, ReadonlyMap<string, Tensor>>()
    for (const file of files) {
      const part = await openSafetensors(file)
      open.push(part)
      found.set(file, part.tensors)
    }
    const tensors = new Map<string, Tensor>()
    for (const [name, file] of places) {
      const tensor = found.get(file)!.get(name)
      if (!tensor) throw new InputError(`average: ${path}: tensor "${name}" is not in ${file}`)
      tensors.set(name, tensor)
    }
    return { tensors, close }
  } catch (error) {
    await close()
    throw error
  }
}
