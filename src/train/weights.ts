/** Between state vectors and weights: snapshots on disk, and models that hold the weights of a state. */

import { writePatched, writeSafetensors, type ModelFile } from '../serde/index.ts'
import { fromFloat32Tensor } from '../tensor/convert.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, invariant } from '../util/errors.ts'
import type { TrainingGraph } from './prepare.ts'
import type { TrainingProgram } from './program.ts'
import { readAll } from './run-folder.ts'
import { EMA, STATISTICS, THETA } from './state-writer.ts'

/** Weights by name: trained parameters and running statistics. */
export type Weights = ReadonlyMap<string, Tensor>

/** The named weights of a state, as views of its vectors. */
export function weightsOfState(training: TrainingProgram, state: ReadonlyMap<string, Tensor>): Weights {
  const vectorOf = (name: string) => state.get(name)?.view() as Float32Array | undefined
  const statistics = vectorOf(STATISTICS)
  return new Map([
    ...training.parameters.unpack(vectorOf(THETA)!),
    ...(statistics ? training.statistics.unpack(statistics) : []),
  ])
}

/** The moving average of the parameters, and the running statistics of the weights that it followed; null without one. */
export function movingAverage(
  training: TrainingProgram,
  state: ReadonlyMap<string, Tensor>,
): { readonly theta: Float32Array; readonly buffers: Weights } | null {
  const average = state.get(EMA)
  if (!average) return null
  const live = weightsOfState(training, state)
  const buffers = new Map(training.statistics.segments.map(({ name }) => [name, live.get(name)!]))
  return { theta: average.view() as Float32Array, buffers }
}

export async function writeSnapshot(path: string, weights: Weights, step: number): Promise<void> {
  await writeSafetensors(path, weights, new Map([['swa_onnx.step', String(step)]]))
}

/** Reads a snapshot, checking that it has the weights of the program. */
export async function readSnapshot(path: string, training: TrainingProgram): Promise<Weights> {
  const weights = await readAll(path)
  for (const { name } of [...training.parameters.segments, ...training.statistics.segments]) {
    if (!weights.has(name)) throw new InputError(`${path}: weight "${name}" is missing`)
  }
  return weights
}

/** Writes the model with other weights; everything else is the input file's, byte for byte. */
export async function writeModelWith(
  file: ModelFile,
  graph: TrainingGraph,
  weights: Weights,
  path: string,
  metadata: ReadonlyMap<string, string>,
): Promise<void> {
  await writePatched(file, path, await placeWeights(graph, weights), metadata)
}

/** The weights that the file holds in half precision. */
export function narrowWeights(graph: TrainingGraph): Map<string, 'float16' | 'bfloat16'> {
  return new Map(
    [...graph.parameters, ...graph.statistics.values()].flatMap(({ name, tensor: { dtype } }) =>
      dtype === 'float16' || dtype === 'bfloat16' ? [[name, dtype] as const] : [],
    ),
  )
}

/** The elements that take the places of the model's own, in its element types. */
export async function placeWeights(graph: TrainingGraph, weights: Weights): Promise<Map<Tensor, ByteSource>> {
  const places = new Map(
    [...graph.parameters, ...graph.statistics.values()].map(({ name, tensor }) => [name, tensor]),
  )
  const replacements = new Map<Tensor, ByteSource>()
  for (const [name, tensor] of weights) {
    const place = places.get(name)
    invariant(place, `weight "${name}" has no place in the model`)
    const stored = fromFloat32Tensor(await tensor.load(), place.dtype, name)
    replacements.set(place, new MemorySource(await stored.bytes(), name))
  }
  return replacements
}
