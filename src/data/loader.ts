/** Batches of a data set: the same for the same seed, epoch and position, however they are asked for. */

import { availableParallelism } from 'node:os'
import { formatShape, sameShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { nextTurn } from '../util/next-turn.ts'
import { Random } from '../util/random.ts'
import { fieldSize, type Dataset, type Sample, type TargetField } from './dataset.ts'
import { checkMoves } from './mask/check-moves.ts'
import type { Placed } from './mask/follow.ts'
import { MaskWriter } from './mask/write.ts'
import { createPipeline, type BatchArray, type Draw, type Pipeline } from './pipeline.ts'
import { Limiter, prefetch } from './prefetch.ts'
import { Sampler } from './sampler.ts'
import { targetTensors } from './targets.ts'
import type { Transforms } from './transforms.ts'

export interface Batch {
  /**
   * One tensor [size, ...] for each field of the data set, keyed by the field's name: the name of a model input, or a
   * decimal number, which means the model's input at that position (data with one unnamed input use '0').
   */
  readonly inputs: ReadonlyMap<string, Tensor>
  /**
   * One tensor for each target of the data set, keyed by its name as the inputs are by theirs: int64 [size, ...dims]
   * class indices, or float32 [size, ...dims]. Masks are int64 [size, height, width] as their images are.
   */
  readonly targets: ReadonlyMap<string, Tensor>
  /** Samples in the batch: the batch size, or fewer in the last batch of an evaluation. */
  readonly size: number
  readonly index: number
  readonly epoch: number
  /** The samples' numbers in the data set. */
  readonly sampleIndices: Uint32Array
}

export interface LoaderOptions {
  readonly batchSize: number
  readonly seed: number
  /** `train` shuffles, drops the last partial batch and augments; `eval` shows every sample once, in order, as it is. */
  readonly mode: 'train' | 'eval'
  /** For all fields, or by field name. */
  readonly transforms: Transforms | Readonly<Record<string, Transforms>>
  /** Shuffle although evaluating (batch-norm recalibration on a part of the data). */
  readonly shuffle?: boolean
  /** The class of pixels of masks that come from outside the image; by default that of pixels without a class. */
  readonly outside?: number
  /** Batches made ahead of the one in use; 3 by default. */
  readonly prefetch?: number
  /** Samples decoded at the same time; the number of processors by default. */
  readonly concurrency?: number
}

export class BatchLoader {
  readonly dataset: Dataset
  readonly batchSize: number
  /** Batches of one epoch. */
  readonly length: number
  readonly #sampler: Sampler
  readonly #pipelines: readonly Pipeline[]
  readonly #seed: number
  readonly #train: boolean
  readonly #ahead: number
  readonly #limiter: Limiter
  readonly #masks: MaskWriter

  constructor(dataset: Dataset, options: LoaderOptions) {
    this.dataset = dataset
    this.batchSize = options.batchSize
    this.#seed = options.seed
    this.#train = options.mode === 'train'
    this.#ahead = options.prefetch ?? 3
    this.#limiter = new Limiter(options.concurrency ?? availableParallelism())
    const { batchSize, seed, shuffle = this.#train } = options
    this.#sampler = new Sampler(dataset.length, { batchSize, seed, shuffle, dropLast: this.#train })
    this.length = this.#sampler.length
    this.#pipelines = dataset.fields.map(field => {
      const transforms = 'kind' in options.transforms ? options.transforms : options.transforms[field.name]
      if (transforms === undefined || typeof transforms === 'string')
        throw new UsageError(`data: input '${field.name}' of ${dataset.name} has no transforms`)
      return createPipeline(transforms as Transforms, field)
    })
    if (this.#train) checkMoves(dataset, options.transforms)
    this.#masks = new MaskWriter(dataset, options.outside)
  }

  /** Dims of one sample of each input, in the order of the fields; null where they depend on the image. */
  get sampleDims(): readonly (Shape | null)[] {
    return this.#pipelines.map(pipeline => pipeline.dims)
  }

  /** The targets with the dims that they have in a batch: those of masks are their images' height and width. */
  get targets(): readonly TargetField[] {
    return this.dataset.targets.map(target => {
      const f = this.dataset.fields.findIndex(({ name }) => name === target.mask?.field)
      const size = this.#pipelines[f]?.size
      return size ? { ...target, dims: [size.height, size.width] } : target
    })
  }

  /** Samples of one epoch. */
  get samples(): number {
    return this.#train ? this.length * this.batchSize : this.dataset.length
  }

  /** The batches of an epoch from `start` on, made ahead in the background. An abort throws the signal's reason. */
  batches(epoch: number, start = 0, signal?: AbortSignal): AsyncGenerator<Batch, void, undefined> {
    const make = (index: number, stop: AbortSignal) => this.batch(epoch, index, stop)
    return prefetch(start, this.length, make, { ahead: this.#ahead, signal })
  }

  /** One batch, by its position alone. */
  async batch(epoch: number, index: number, signal?: AbortSignal): Promise<Batch> {
    const sampleIndices = this.#sampler.indices(epoch, index)
    const { inputs, placed, loaded } = this.dataset.columns
      ? await this.#fromColumns(epoch, sampleIndices)
      : await this.#fromSamples(epoch, sampleIndices, signal)
    const masks = this.#masks.write(sampleIndices, placed, loaded)
    const targets = targetTensors(this.dataset, sampleIndices, masks)
    return { inputs, targets, size: sampleIndices.length, index, epoch, sampleIndices }
  }

  #draw(pipeline: Pipeline, field: number, epoch: number, sample: number): Draw {
    const random = this.#train && pipeline.random ? Random.of(this.#seed, epoch, sample, field) : null
    return pipeline.draw(random)
  }

  /** Rows in memory, straight into the batch. */
  async #fromColumns(epoch: number, samples: Uint32Array): Promise<Made> {
    await nextTurn() // batches made ahead must not hold up the one in use
    const { inputs, rows } = this.dataset.columns!
    const tensors = new Map<string, Tensor>()
    const placed = this.dataset.fields.map((field, f) => {
      const pipeline = this.#pipelines[f]!
      const stride = fieldSize(field)
      const { array, tensor, size } = allocate(pipeline, samples.length, pipeline.dims!)
      tensors.set(field.name, tensor)
      return Array.from(samples, (sample, i) => {
        const row = rows ? rows[sample]! : sample
        const draw = this.#draw(pipeline, f, epoch, sample)
        return pipeline.writeRow(inputs[f]!, row * stride, draw, array, i * size)
      })
    })
    return { inputs: tensors, placed, loaded: null }
  }

  /** Samples that must be fetched and decoded first. */
  async #fromSamples(epoch: number, samples: Uint32Array, signal?: AbortSignal): Promise<Made> {
    const draws = Array.from(samples, sample =>
      this.#pipelines.map((pipeline, f) => this.#draw(pipeline, f, epoch, sample)),
    )
    const loaded = await Promise.all(
      Array.from(samples, (sample, i) =>
        this.#limiter.run(() => {
          signal?.throwIfAborted()
          return this.dataset.load(sample, draws[i]![0]!.geometry ?? undefined)
        }),
      ),
    )
    const tensors = new Map<string, Tensor>()
    const placed = this.dataset.fields.map((field, f) => {
      const pipeline = this.#pipelines[f]!
      const dims = this.#commonDims(pipeline, f, samples, loaded)
      const { array, tensor, size } = allocate(pipeline, samples.length, dims)
      tensors.set(field.name, tensor)
      return loaded.map(({ inputs }, i) => pipeline.writeInput(inputs[f]!, draws[i]![f]!, array, i * size))
    })
    return { inputs: tensors, placed, loaded }
  }

  #commonDims(pipeline: Pipeline, f: number, samples: Uint32Array, loaded: readonly Sample[]): Shape {
    const all = loaded.map(({ inputs }) => pipeline.dimsOf(inputs[f]!))
    const other = all.findIndex(dims => !sameShape(dims, all[0]!))
    if (other < 0) return all[0]!
    const describe = (i: number) => `${this.dataset.sampleName(samples[i]!)} is ${formatShape(all[i]!)}`
    throw new InputError(
      `${this.dataset.name}: images of one batch differ in size: ${describe(0)}, ${describe(other)}`,
      { cure: 'add a crop or an exact resize to the transforms' },
    )
  }
}

/** The inputs of a batch, and what its masks are made of. */
interface Made {
  readonly inputs: Map<string, Tensor>
  /** By field, then by sample. */
  readonly placed: readonly (readonly (Placed | null)[])[]
  /** Samples that were fetched; null if all are in memory. */
  readonly loaded: readonly Sample[] | null
}

const ARRAYS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array }

function allocate(pipeline: Pipeline, rows: number, dims: Shape) {
  const size = sizeOf(dims)
  const array: BatchArray = new ARRAYS[pipeline.dtype](rows * size)
  return { array, size, tensor: Tensor.of(pipeline.dtype, [rows, ...dims], array) }
}

/**
 * A batch for a program of fixed batch size: short ones repeat their first sample up to `rows`. `size` stays the number
 * of true samples, which alone may be counted.
 */
export function padBatch(batch: Batch, rows: number): Batch {
  if (batch.size >= rows) return batch
  const pad = (tensor: Tensor): Tensor => {
    const bytes = tensor.data as Uint8Array
    const stride = bytes.length / batch.size
    const padded = new Uint8Array(rows * stride)
    padded.set(bytes)
    for (let row = batch.size; row < rows; row++) padded.set(bytes.subarray(0, stride), row * stride)
    return new Tensor(tensor.dtype, [rows, ...tensor.dims.slice(1)], padded)
  }
  const padAll = (tensors: ReadonlyMap<string, Tensor>) =>
    new Map([...tensors].map(([name, tensor]) => [name, pad(tensor)]))
  return { ...batch, inputs: padAll(batch.inputs), targets: padAll(batch.targets) }
}
