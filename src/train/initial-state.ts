/** The state that a training run starts from: the model's own weights in float32, and zeros for the optimizer. */

import { toFloat32Tensor } from '../tensor/convert.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { FlatLayout } from './flat.ts'
import type { TrainedWeight, TrainingGraph } from './prepare.ts'
import type { TrainingProgram } from './program.ts'
import { STATISTICS, THETA } from './state-writer.ts'

/** State vectors by name. */
export async function initialState(
  graph: TrainingGraph,
  training: TrainingProgram,
): Promise<Map<string, Tensor>> {
  const { parameters, statistics, optimizer } = training
  const state = new Map([[THETA, await packed(parameters, graph.parameters)]])
  for (const slot of optimizer.slotNames) state.set(slot, vector(new Float32Array(parameters.length)))
  if (statistics.length > 0) state.set(STATISTICS, await packed(statistics, [...graph.statistics.values()]))
  return state
}

/** A float32 tensor over a flat vector. */
export function vector(values: Float32Array): Tensor {
  return Tensor.of('float32', [values.length], values)
}

async function packed(layout: FlatLayout, weights: readonly TrainedWeight[]): Promise<Tensor> {
  const wanted = new Set(layout.segments.map(({ name }) => name))
  const byName = new Map<string, Tensor>()
  for (const { name, tensor } of weights)
    if (wanted.has(name)) byName.set(name, await toFloat32Tensor(tensor))
  return vector(await layout.pack(name => byName.get(name)))
}
