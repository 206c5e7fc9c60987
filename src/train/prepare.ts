/**
 * From an imported model to a graph that can be differentiated: a copy in which constants are folded, every value has a
 * static shape, and parameters, running statistics and logits are known.
 */

import type { Model } from '../ir/graph.ts'
import type { Dim, Value } from '../ir/value.ts'
import {
  applyObserved,
  classifyWeights,
  cloneModel,
  computedShapes,
  constantValues,
  findBatchNorms,
  findLogits,
  FUSIONS,
  fixedBatchSize,
  inlineBranches,
  inlineFunctions,
  liftConstants,
  modelTensors,
  raiseOpset,
  rebatch,
  refuseQuantized,
  replaceNodes,
  setBatchSize,
  toFloat32,
  type Activation,
  type BatchNormSite,
  type Logits,
  type WeightPatterns,
  type Observations,
} from '../passes/index.ts'
import type { Engine, Feeds } from '../runtime/engine.ts'
import { observe } from '../runtime/observe.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, sameShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import { attachLoss, type AttachedLoss, type LossGraph } from './loss-graph.ts'
import { openControlFlow, refuseControlFlow } from './open-control-flow.ts'

/** Programs are written in this opset, or in the model's own where that is newer. */
export const PROGRAM_OPSET = 18

/** A weight of the training graph and the tensor of the file that it came from. */
export interface TrainedWeight {
  readonly name: string
  readonly value: Value
  /** As the file holds it: the key under which a writer replaces it. */
  readonly tensor: Tensor
}

/** A trained output. */
export interface Head {
  /** The model output. */
  readonly output: string
  /** As the model file declares it; null where it does not. */
  readonly outputShape: readonly Dim[] | null
  /** What the loss attaches to: an output of the training graph. */
  readonly logits: Value
  /** What the model applies after it, and the axis of a Softmax. */
  readonly activation: Activation
  readonly activationAxis: number | null
}

export interface TrainingGraph {
  readonly model: Model
  readonly opset: number
  readonly parameters: readonly TrainedWeight[]
  readonly batchNorms: readonly BatchNormSite[]
  /** Running mean or variance -> the file's tensor. */
  readonly statistics: ReadonlyMap<Value, TrainedWeight>
  readonly inputs: readonly Value[]
  /** In the order in which they were asked for; their logits are the graph's outputs. */
  readonly heads: readonly Head[]
  /** The loss that the graph ends in: its outputs are then loss and metrics, and it has no heads. */
  readonly ownLoss: AttachedLoss | null
  /** Remarks for the person. */
  readonly notes: readonly string[]
}

export interface HeadRequest {
  /** Default: the only output. */
  readonly output?: string
  /** Whether the loss takes what a trailing activation is applied to (default), or the output as it is. */
  readonly attach?: 'logits' | 'output'
}

export interface PrepareOptions {
  readonly batchSize: number
  readonly inputShapes?: ReadonlyMap<string, Shape>
  /** The trained outputs; default: the only one. */
  readonly heads?: readonly HeadRequest[]
  /** A loss of the person's own, in place of heads. */
  readonly ownLoss?: LossGraph | null
  readonly patterns?: WeightPatterns
  /** A batch of the data, for models that do not run on zeros (a classifier that looks for the end of its text). */
  readonly sample?: () => Promise<Feeds>
}

/** Makes the training graph of a model; the model itself is not changed. */
export async function prepareTraining(
  engine: Engine,
  source: Model,
  options: PrepareOptions,
): Promise<TrainingGraph> {
  // 1. A copy of one opset and without functions, whose weights are all initializers, and float32.
  refuseQuantized(source)
  const stored = new Set(modelTensors(source))
  const { model } = cloneModel(source)
  inlineFunctions(model)
  liftConstants(model)
  raiseOpset(model, PROGRAM_OPSET)
  const { originals } = await toFloat32(model)
  await followBatchSize(engine, model, options)
  setBatchSize(model, options.batchSize, options.inputShapes)
  await openControlFlow(engine, model, sampleFeeds(model.graph.feeds))
  liftConstants(model)

  // 2. Which weights train, which are statistics; the loss goes before a trailing activation.
  const weights = await classifyWeights(model, options.patterns)
  const named = new Map<Value, TrainedWeight>()
  for (const { value, name } of weights) {
    const tensor = value.tensor && (originals.get(value.tensor) ?? value.tensor)
    if (tensor && stored.has(tensor)) named.set(value, { name, value, tensor })
  }
  const parameters = weights
    .filter(weight => weight.trainable)
    .flatMap(weight => named.get(weight.value) ?? [])
  for (const { name, value } of parameters) {
    if (value.dtype === 'float32') continue
    throw new UnsupportedError(
      `model: parameter "${name}" is ${value.dtype} in a model of float32 inputs, where it cannot be trained`,
      {
        cure: 'convert the parameter to float32, or freeze it with --freeze',
      },
    )
  }
  const batchNorms = findBatchNorms(model)
  const ownLoss = options.ownLoss ? await attachLoss(model, source, options.ownLoss, options.batchSize) : null
  const ends = ownLoss ? [] : headsOf(options).map(request => chooseEnd(model, request))
  model.graph.outputs = ownLoss ? [...ownLoss.outputs] : ends.map(({ value }) => value)

  // 3. Observe shapes and constants on one batch, then fold; again where a folded condition opened a branch. Operators
  // that stand for several others become those.
  const variable = [
    ...parameters.map(({ value }) => value),
    ...batchNorms.flatMap(site => [site.mean, site.variance]),
  ]
  let unobserved: readonly Value[]
  do {
    const observations = await observeBatch(engine, model, constantValues(model.graph, variable), options)
    unobserved = applyObserved(model, observations).unobserved
  } while (inlineBranches(model).modified)
  const open = unobserved.find(value => value.type?.kind === 'tensor')
  if (open)
    throw new UnsupportedError(`model: the shape of ${open.toString()} is not known on a batch of the data`)
  checkReshapes(model)
  refuseControlFlow(
    model,
    parameters.map(({ value }) => value),
  )
  replaceNodes(model.graph, FUSIONS)
  const used = new Set(model.graph.nodes.flatMap(node => node.inputs))
  return {
    model,
    opset: model.opset,
    parameters: parameters.filter(({ value }) => used.has(value)),
    batchNorms: batchNorms.filter(({ node }) => model.graph.nodes.includes(node)),
    statistics: named,
    inputs: model.graph.feeds.filter(input => !ownLoss?.inputs.has(input)),
    heads: ends.map(({ output, activation, axis: activationAxis }, i) => {
      const logits = model.graph.outputs[i]!
      return {
        output: output.name,
        outputShape: declaredShape(source, output),
        logits,
        activation,
        activationAxis,
      }
    }),
    ownLoss,
    notes: ownLoss ? [] : headsOf(options).flatMap(request => chooseEnd(source, request).notes),
  }
}

/**
 * ONNX Runtime believes a shape that is written in the graph. One that was written for another batch size shows here: the
 * node would give more or fewer elements than it takes.
 */
function checkReshapes(model: Model): void {
  for (const node of model.graph.nodes) {
    if (node.opType !== 'Reshape') continue
    const [x, y] = [node.input(0), node.output(0)]
    if (sizeOf(x.shape) === sizeOf(y.shape)) continue
    throw new InputError(
      `model: ${node.label} takes ${x.toString()} and is written to give ${formatShape(y.shape)}`,
      {
        cure: 'the graph holds a shape of another batch size: export it with a dynamic batch, made from an example of two or more samples, or train with the --batch-size it was made for',
      },
    )
  }
}

/** Gives a model that was exported for another batch size this one. */
async function followBatchSize(
  engine: Engine,
  model: Model,
  { batchSize, inputShapes = new Map() }: PrepareOptions,
): Promise<void> {
  const old = fixedBatchSize(model.graph)
  if (old === null || old === batchSize) return
  const shapes = computedShapes(model.graph)
  if (shapes.length > 0) {
    setBatchSize(model, old, new Map([...inputShapes].map(([name, [, ...dims]]) => [name, [old, ...dims]])))
    const { values } = await observe(engine, model, sampleFeeds(model.graph.feeds), shapes)
    applyObserved(model, { types: new Map(), values })
  }
  await rebatch(model, batchSize)
}

function headsOf({ heads = [{}] }: PrepareOptions): readonly HeadRequest[] {
  return heads
}

/** The shape of an output in the file; that of the copy is another batch's. */
function declaredShape(source: Model, { name }: Value): readonly Dim[] | null {
  const type = source.graph.outputs.find(value => value.name === name)?.type
  return type?.kind === 'tensor' ? type.shape : null
}

/** Where a loss attaches. */
function chooseEnd(model: Model, { output, attach = 'logits' }: HeadRequest): Logits {
  const found = findLogits(model, output)
  if (attach === 'logits') return found
  return { ...found, value: found.output, activation: 'none', node: null, axis: null, notes: [] }
}

/** Observes on zeros, or, where the model fails on them, on a batch of the data. */
async function observeBatch(
  engine: Engine,
  model: Model,
  wanted: readonly Value[],
  { sample }: PrepareOptions,
): Promise<Observations> {
  const { feeds } = model.graph
  try {
    return await observe(engine, model, sampleFeeds(feeds), wanted)
  } catch (error) {
    if (!sample || !(error instanceof InputError)) throw error
    return await observe(engine, model, sampleFeeds(feeds, await sample()), wanted)
  }
}

/** One batch, of which only shapes are looked at: of the sample what fits, zeros for the rest. */
function sampleFeeds(inputs: readonly Value[], sample: Feeds = new Map()): Feeds {
  return new Map(
    inputs.map(input => {
      const { dtype, shape } = input
      const given = sample.get(input.name)
      if (given && given.dtype === dtype && sameShape(given.dims, shape)) return [input.name, given] as const
      if (DTYPES[dtype].bits < 8) {
        throw new UnsupportedError(
          `model: input ${input.toString()} cannot be fed, found ${dtype}${formatShape(shape)}`,
        )
      }
      const zeros = new Uint8Array((sizeOf(shape) * DTYPES[dtype].bits) / 8)
      return [input.name, new Tensor(dtype, shape, zeros)] as const
    }),
  )
}
