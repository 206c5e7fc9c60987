/** What is in a model file and what fine-tuning would make of it, as plain data. */

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { NON_DIFFERENTIABLE, operatorKey, RULES } from '../autodiff/index.ts'
import { diagnoseBatchNorm } from '../batchnorm/index.ts'
import type { Model } from '../ir/graph.ts'
import { walkNodes } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import {
  classifyWeights,
  cloneModel,
  findEqualCopies,
  findHead,
  findLogits,
  liftConstants,
  raiseOpset,
  tensorOf,
  withoutFunctions,
  type Activation,
  type EqualCopies,
  type WeightPatterns,
  type WeightRole,
} from '../passes/index.ts'
import { externalDataOf, loadModel, type ModelFile } from '../serde/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { SwaError } from '../util/errors.ts'
import { findObstacles, type Obstacle } from './obstacles.ts'

/** Whether gradients pass an operator: by a rule, not at all (they stop there), or nobody has written how. */
export type GradientState = 'rule' | 'stops' | 'missing'

export interface InspectedPort {
  readonly name: string
  /** `float32[batch,3,224,224]`, or what the file says of other types. */
  readonly type: string
}

export interface InspectedOperator {
  readonly operator: string
  readonly count: number
  readonly gradient: GradientState
}

export interface InspectedWeight {
  readonly name: string
  readonly dtype: DType
  readonly dims: Shape
  readonly elements: number
  readonly role: WeightRole
  readonly reason: string
  /** The nodes at which it meets activations; a tied weight has several. */
  readonly usedBy: readonly string[]
  readonly trainable: boolean
  readonly storage: 'initializer' | 'constant-node'
  /** Whether the elements are in a data file beside the model. */
  readonly external: boolean
}

export interface InspectedBatchNorm {
  readonly state: 'present' | 'decomposed' | 'folded' | 'none'
  readonly summary: string
  readonly evidence: readonly string[]
  readonly sites: readonly {
    readonly node: string
    readonly form: 'inference' | 'training'
    readonly channels: number
    readonly epsilon: number
    readonly momentum: number
    readonly mean: string
    readonly variance: string
  }[]
}

export interface Inspection {
  readonly path: string
  readonly bytes: number
  readonly irVersion: number
  readonly opset: number
  /** Domain -> version; `ai.onnx` is the default domain. */
  readonly opsetImports: Readonly<Record<string, number>>
  readonly producer: { readonly name: string; readonly version: string }
  readonly metadata: Readonly<Record<string, string>>
  readonly inputs: readonly InspectedPort[]
  readonly outputs: readonly InspectedPort[]
  readonly nodes: number
  readonly functions: number
  readonly operators: readonly InspectedOperator[]
  /** Elements of all float weights, and of those that are trained. */
  readonly parameters: { readonly all: number; readonly trainable: number; readonly tensors: number }
  readonly weights: readonly InspectedWeight[]
  /** Trained matrices that the file holds twice. */
  readonly equalCopies: readonly EqualCopies[]
  readonly batchNorm: InspectedBatchNorm
  /** Where a loss attaches; null where no output is chosen. */
  readonly prediction: {
    readonly output: string
    readonly logits: string
    readonly activation: Activation
    readonly notes: readonly string[]
  } | null
  /** What `--head reinit` would replace; null where no classifier is found. */
  readonly head: {
    readonly classes: number
    readonly nodes: readonly string[]
    readonly weights: readonly string[]
  } | null
  readonly externalData: readonly {
    readonly file: string
    readonly tensors: number
    readonly bytes: number
  }[]
  /** What keeps it from being trained; empty when nothing does. */
  readonly obstacles: readonly Obstacle[]
}

export interface InspectOptions {
  readonly patterns?: WeightPatterns
  readonly output?: string
}

/** Looks at a model file; only weights whose numbers tell are read. */
export async function inspectModel(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const file = await loadModel(path)
  try {
    const { files, tensors } = externalDataOf(file)
    const inspection = await inspectOpen(file, (await stat(path)).size, options, tensors)
    const externalData = files.map(({ path, tensors, bytes }) => ({ file: basename(path), tensors, bytes }))
    return { ...inspection, externalData }
  } finally {
    await file.close()
  }
}

/** Looks at an open model of so many bytes; `external`: the tensors whose elements are in other files. */
export async function inspectOpen(
  { path, model }: ModelFile,
  bytes: number,
  options: InspectOptions = {},
  external: ReadonlySet<Tensor> = new Set(),
): Promise<Inspection> {
  const plain = withoutFunctions(model)
  const infos = await classifyWeights(plain, options.patterns)
  const weights = infos.map(
    ({ name, dtype, dims, role, reason, trainable, origin, tensor, users }): InspectedWeight => ({
      ...{ name, dtype, dims, elements: sizeOf(dims), role, reason, trainable },
      usedBy: users.map(({ label }) => label),
      storage: origin.kind,
      external: external.has(tensor),
    }),
  )
  return {
    path,
    bytes,
    irVersion: model.irVersion,
    opset: model.opset,
    opsetImports: Object.fromEntries(
      [...model.opsetImports].map(([domain, version]) => [domain || 'ai.onnx', version]),
    ),
    producer: { name: model.producerName, version: model.producerVersion },
    metadata: Object.fromEntries(model.metadata),
    inputs: model.graph.feeds.map(portOf),
    outputs: model.graph.outputs.map(portOf),
    nodes: [...walkNodes(model.graph)].length,
    functions: model.functions.length,
    operators: countOperators(model),
    parameters: countParameters(weights),
    weights,
    equalCopies: await findEqualCopies(infos.filter(({ trainable }) => trainable)),
    batchNorm: inspectBatchNorm(plain),
    prediction: findPrediction(plain, options.output),
    head: describeHead(plain, options.output),
    externalData: [],
    obstacles: await findObstacles(model, options.patterns, options.output),
  }
}

function describeHead(model: Model, output: string | undefined): Inspection['head'] {
  try {
    const { classes, layers } = findHead(model, output)
    return {
      classes,
      nodes: layers.map(({ node }) => node.label),
      weights: layers.flatMap(({ weight, bias }) => [weight.name, ...(bias ? [bias.name] : [])]),
    }
  } catch (error) {
    if (error instanceof SwaError) return null
    throw error
  }
}

function portOf({ name, type }: Value): InspectedPort {
  if (type === null) return { name, type: 'unknown' }
  if (type.kind !== 'tensor') return { name, type: type.description }
  return { name, type: `${type.dtype}${type.shape === null ? '[...]' : formatShape(type.shape)}` }
}

/** Operators of the graph and its sub-graphs, most frequent first. */
function countOperators(model: Model): InspectedOperator[] {
  const counts = new Map<string, number>()
  for (const node of walkNodes(model.graph)) {
    const operator = operatorKey(node)
    counts.set(operator, (counts.get(operator) ?? 0) + 1)
  }
  const replaced = replacedOperators(model, [...counts.keys()])
  const stateOf = (operator: string): GradientState => {
    if (RULES[operator] || replaced.has(operator)) return 'rule'
    return NON_DIFFERENTIABLE.has(operator) ? 'stops' : 'missing'
  }
  return [...counts]
    .map(([operator, count]) => ({ operator, count, gradient: stateOf(operator) }))
    .sort((a, b) => b.count - a.count || (a.operator < b.operator ? -1 : 1))
}

/** Operators of old opsets that training writes in newer ones. */
function replacedOperators(model: Model, operators: readonly string[]): Set<string> {
  const { model: copy } = cloneModel(model)
  try {
    liftConstants(copy)
    raiseOpset(copy)
  } catch (error) {
    if (error instanceof SwaError) return new Set()
    throw error
  }
  const left = new Set([...walkNodes(copy.graph)].map(operatorKey))
  return new Set(operators.filter(operator => operator !== 'Constant' && !left.has(operator)))
}

function countParameters(weights: readonly InspectedWeight[]): Inspection['parameters'] {
  const sum = (some: readonly InspectedWeight[]) => some.reduce((total, { elements }) => total + elements, 0)
  const trained = weights.filter(({ trainable }) => trainable)
  const learned = weights.filter(({ role }) => role !== 'constant')
  return { all: sum(learned), trainable: sum(trained), tensors: trained.length }
}

function inspectBatchNorm(model: Model): InspectedBatchNorm {
  const { state, summary, evidence, sites } = diagnoseBatchNorm(model)
  return {
    ...{ state, summary, evidence },
    sites: sites.map(({ label, form, epsilon, momentum, mean, variance }) => ({
      ...{ node: label, form, epsilon, momentum, mean: mean.name, variance: variance.name },
      channels: tensorOf(mean)!.size,
    })),
  }
}

function findPrediction(model: Model, output: string | undefined): Inspection['prediction'] {
  try {
    const { output: chosen, value, activation, notes } = findLogits(model, output)
    return { output: chosen.name, logits: value.name, activation, notes }
  } catch (error) {
    if (error instanceof SwaError && output === undefined) return null
    throw error
  }
}
