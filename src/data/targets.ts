/** Targets of a batch: how they are made, and which of them a model output is compared with. */

import { sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import type { Dataset, TargetField } from './dataset.ts'

/**
 * The targets of some samples, by name: int64 [n, ...dims] for classes, float32 [n, ...dims] for everything else.
 *
 * @param masks those that are there already, by name
 */
export function targetTensors(
  dataset: Dataset,
  samples: Uint32Array,
  masks: ReadonlyMap<string, Tensor> = new Map(),
): Map<string, Tensor> {
  return new Map(
    dataset.targets.map((field, t) => [
      field.name,
      masks.get(field.name) ?? targetTensor(dataset, field, t, samples),
    ]),
  )
}

function targetTensor(dataset: Dataset, { kind, dims }: TargetField, t: number, samples: Uint32Array) {
  const size = sizeOf(dims)
  const shape = [samples.length, ...dims]
  if (kind !== 'class') {
    const values = new Float32Array(samples.length * size)
    samples.forEach((sample, i) => values.set(dataset.target(sample, t) as Float32Array, i * size))
    return Tensor.of('float32', shape, values)
  }
  const labels = new BigInt64Array(samples.length * size)
  samples.forEach((sample, i) => {
    const target = dataset.target(sample, t)
    if (typeof target === 'number') labels[i] = BigInt(target)
    else target.forEach((label, at) => (labels[i * size + at] = BigInt(label)))
  })
  return Tensor.of('int64', shape, labels)
}

/**
 * What a model output is compared with, of targets by name: the one named after it, the one named by its position among
 * the model's outputs, or an only one without a name ('0').
 */
export function targetFor<T>(targets: ReadonlyMap<string, T>, output: string, outputs: readonly string[]): T {
  const only = targets.size === 1 ? targets.get('0') : undefined
  const found = targets.get(output) ?? targets.get(String(outputs.indexOf(output))) ?? only
  if (found !== undefined) return found
  const names = [...targets.keys()].map(name => `"${name}"`).join(', ')
  throw new InputError(`data: no target is called "${output}", which is the model output, found ${names}`, {
    cure: 'name the targets of the data after the model outputs',
  })
}
