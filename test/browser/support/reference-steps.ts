/** The steps of a fixture model's reference, as a page can be asked to make them. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readSafetensors } from '../../support/safetensors.ts'
import { MODELS, type Reference } from '../../support/training.ts'
import type { StepsRequest } from './ten-steps.ts'

/** Inputs, targets and rates of the reference of fixtures/models/<name>. */
export function stepsOfReference(name: string): StepsRequest {
  const tensors = readSafetensors(join(MODELS, name, 'reference.safetensors'))
  const { hyperparameters } = JSON.parse(
    readFileSync(join(MODELS, name, 'reference.json'), 'utf8'),
  ) as Reference
  const rowsOf = (rows: string) => {
    const tensor = tensors.get(rows)!
    const [count] = tensor.dims
    const numbers = tensor.toNumbers()
    const size = numbers.length / count!
    return Array.from({ length: count! }, (_, i) => numbers.slice(i * size, (i + 1) * size))
  }
  const { lr, momentum, weight_decay: weightDecay } = hyperparameters
  return {
    dims: tensors.get('steps/input')!.dims.slice(1),
    inputs: rowsOf('steps/input'),
    targets: rowsOf('steps/target'),
    ...{ lr, momentum, weightDecay },
  }
}
