/** The state that a training run starts from: the model's own weights in float32, and zeros for optimizer and gradients. */

import { toFloat32Tensor } from '../tensor/convert.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { FlatLayout } from './flat.ts'
import { initialScaler, LOSS_SCALE, SCALER } from './loss-scaling.ts'
import type { TrainedWeight, TrainingGraph } from './prepare.ts'
import type { TrainingProgram } from './program.ts'
import { EMA, STATISTICS, THETA } from './state-writer.ts'

/** State vectors by name. */
export async function initialState(
  graph: TrainingGraph,
  training: TrainingProgram,
): Promise<Map<string, Tensor>> {
  const statistics = [...graph.statistics.values()]
  const weightsOf: Readonly<Record<string, readonly TrainedWeight[]>> = {
    [THETA]: graph.parameters,
    [EMA]: graph.parameters,
    [STATISTICS]: statistics,
  }
  const state = new Map<string, Tensor>()
  for (const [name, layout] of training.state) {
    const weights = weightsOf[name]
    if (name === SCALER) state.set(name, vector(initialScaler(training.lossScale ?? LOSS_SCALE)))
    else state.set(name, weights ? await packed(layout, weights) : vector(new Float32Array(layout.length)))
  }
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
