/** The PyTorch fixtures, as far as batch normalization is concerned. */

import { existsSync, readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Model } from '../../../src/ir/graph.ts'
import { tensorOf } from '../../../src/passes/index.ts'
import { deserializeModel, openSafetensors } from '../../../src/serde/index.ts'
import { sizeOf } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import type { Value } from '../../../src/ir/value.ts'

const FOLDER = fileURLToPath(new URL('../../../fixtures/models/', import.meta.url))

export interface Reference {
  readonly model: Model
  /** The batches of the training steps, which are what update_bn saw; the last one cut if `ragged`. */
  batches(ragged: boolean): Map<string, Tensor>[]
  /** A recorded tensor. */
  numbers(key: string): number[]
  /** The PyTorch name of a weight. */
  torchName(value: Value): string
}

/** The fixtures that recorded recalibrated statistics. */
export function batchNormFixtures(): string[] {
  return readdirSync(FOLDER)
    .filter(name => name.includes('cnn') || name.includes('net'))
    .filter(isComplete)
}

function isComplete(name: string): boolean {
  return existsSync(`${FOLDER}${name}/reference.safetensors`)
}

interface Record {
  initializers: { [name: string]: { torch: string | null; kind: string; transposed: boolean } }
  ragged_last_batch: number
}

/** A fixture model with the averaged weights in it. */
export async function loadReference(name: string): Promise<Reference> {
  const folder = `${FOLDER}${name}/`
  const record = JSON.parse(await readFile(`${folder}reference.json`, 'utf8')) as Record
  const file = await openSafetensors(`${folder}reference.safetensors`)
  const tensors = new Map<string, Tensor>()
  for (const [key, tensor] of file.tensors) tensors.set(key, await tensor.load())
  await file.close()
  const model = await deserializeModel(await readFile(`${folder}model.onnx`), name)
  const torchNames = new Map<string, string>()
  for (const value of model.graph.initializers) {
    const torch = record.initializers[value.name]?.torch
    if (!torch) continue
    torchNames.set(value.name, torch)
    const averaged = tensors.get(`swa/${torch}`)
    if (averaged && tensorOf(value)?.dtype === 'float32') value.tensor = averaged
  }
  const inputs = tensors.get('steps/input')!
  const [count, ...dims] = inputs.dims as [number, ...number[]]
  const size = sizeOf(dims)
  return {
    model,
    batches: ragged =>
      Array.from({ length: count }, (_, i) => {
        const rows = ragged && i === count - 1 ? record.ragged_last_batch : dims[0]!
        const values = (inputs.view() as Float32Array).subarray(i * size, i * size + (size / dims[0]!) * rows)
        return new Map([['input', Tensor.of('float32', [rows, ...dims.slice(1)], values)]])
      }),
    numbers: key => tensors.get(key)!.toNumbers(),
    torchName: value => torchNames.get(value.name)!,
  }
}
