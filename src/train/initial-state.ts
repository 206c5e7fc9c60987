/** The state that a training run starts from: the model's own weights, and zeros for the optimizer. */

import { Tensor } from '../tensor/tensor.ts'
import type { FlatLayout } from './flat.ts'
import { initialScaler, SCALER } from './loss-scaling.ts'
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
  if (training.lossScale) state.set(SCALER, vector(initialScaler(training.lossScale)))
  if (statistics.length > 0) state.set(STATISTICS, await packed(statistics, [...graph.statistics.values()]))
  return state
}

/** A float32 tensor over a flat vector. */
export function vector(values: Float32Array): Tensor {
  return Tensor.of('float32', [values.length], values)
}

async function packed(layout: FlatLayout, weights: readonly TrainedWeight[]): Promise<Tensor> {
  const byName = new Map(weights.map(({ name, tensor }) => [name, tensor]))
  return vector(await layout.pack(name => byName.get(name)))
}
