/**
 * Activation repair: averaged weights make activations of smaller variance than their members have, and a model whose batch norms
 * were folded into its weights has nothing left that could be recalibrated. So the mean and the deviation of every channel
 * behind a convolution or linear layer are set to what the members have on average, and folded into weight and bias. Jordan et
 * al., "REPAIR: renormalizing permuted activations for interpolation repair", 2023.
 */

import { recalibrate, type Batch, type ChannelStatistics, type OpenRunner } from '../batchnorm/index.ts'
import { float } from '../ir/attribute.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { usesOf, type Use } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { cloneModel, tensorOf, type BatchNormSite } from '../passes/index.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Weights and bias of one node, which give each channel of its output a factor and a shift. */
export interface RepairLayer {
  readonly node: Node
  readonly weight: Tensor
  readonly bias: Tensor
  /** The axis of the weight that is the output's channels. */
  readonly axis: number
  readonly channels: number
}

export interface RepairPlan {
  readonly layers: readonly RepairLayer[]
  readonly skipped: readonly { readonly node: string; readonly reason: string }[]
}

/** The axis of a weight's output channels; null where weight and bias do not scale channels. */
const CHANNEL_AXES: Readonly<Record<string, (node: Node) => number | null>> = {
  Conv: () => 0,
  ConvTranspose: node => (node.int('group', 1) === 1 ? 1 : null),
  Gemm: node => {
    const plain = node.float('alpha', 1) === 1 && node.float('beta', 1) === 1 && node.int('transA', 0) === 0
    return plain ? (node.int('transB', 0) === 1 ? 0 : 1) : null
  },
}

/** The layers of the main graph that can be repaired; the last ones, whose outputs are what the model says, are not. */
export function planRepair({ graph }: Model): RepairPlan {
  const uses = usesOf(graph)
  const nodes = graph.nodes.filter(
    ({ domain, opType }) => domain === ONNX_DOMAIN && Object.hasOwn(CHANNEL_AXES, opType),
  )
  const before = leadingTo(nodes, uses)
  const layers: RepairLayer[] = []
  const skipped: { node: string; reason: string }[] = []
  for (const node of nodes) {
    const found = layerOf(node, uses)
    if (typeof found === 'string') skipped.push({ node: node.label, reason: found })
    else if (!before.has(node)) skipped.push({ node: node.label, reason: 'no other layer follows' })
    else layers.push(found)
  }
  return { layers, skipped }
}

/** The layer of a node, or why it has none. */
function layerOf(node: Node, uses: ReadonlyMap<Value, readonly Use[]>): RepairLayer | string {
  const [weight, bias] = [node.inputs[1], node.inputs[2]].map(value => tensorOf(value))
  const axis = CHANNEL_AXES[node.opType]!(node)
  if (!weight) return 'its weight is computed'
  if (!bias) return node.inputs[2] ? 'its bias is computed' : 'it has no bias'
  if (axis === null) return 'its attributes mix channels'
  if (weight.dtype !== 'float32' || bias.dtype !== 'float32') return `its elements are ${weight.dtype}`
  const shared = [node.inputs[1]!, node.inputs[2]!].some(value => uses.get(value)?.length !== 1)
  if (shared) return 'its weights are used elsewhere too'
  const channels = weight.dims[axis]!
  if (bias.size !== channels) return `its bias has ${bias.size} elements for ${channels} channels`
  return { node, weight, bias, axis, channels }
}

/** Of some nodes those that lead to another one of them. */
function leadingTo(nodes: readonly Node[], uses: ReadonlyMap<Value, readonly Use[]>): Set<Node> {
  const wanted = new Set(nodes)
  const known = new Map<Node, boolean>()
  const reaches = (node: Node): boolean => {
    const answer = known.get(node)
    if (answer !== undefined) return answer
    known.set(node, false)
    const readers = node.outputs.flatMap(output => (output ? (uses.get(output) ?? []) : []))
    const found = readers.some(use => wanted.has(use.node) || reaches(use.node))
    known.set(node, found)
    return found
  }
  // From the end, so that no chain of calls is as long as the graph.
  for (const node of [...nodes].reverse()) reaches(node)
  return new Set(nodes.filter(reaches))
}

export interface RepairContext {
  readonly open: OpenRunner
  /** Every sample once, in batches of several. */
  readonly batches: () => AsyncIterable<Batch> | Iterable<Batch>
  readonly signal?: AbortSignal
  readonly onProgress?: (samples: number) => void
}

/** Mean and variance of each channel behind each layer, on all data. */
export function layerStatistics(
  model: Model,
  { layers }: RepairPlan,
  context: RepairContext,
): Promise<readonly ChannelStatistics[]> {
  return measure(model, layers, null, context)
}

export interface RepairedLayer {
  readonly node: string
  readonly channels: number
  /** Channels that do not move on these data; they are left as they are. */
  readonly dead: number
  /** The mean over channels of what deviations had been multiplied with: above 1 where averaging took variance away. */
  readonly factor: number
}

export interface Repair {
  /** The model's tensors, and what takes their places. */
  readonly replacements: ReadonlyMap<Tensor, Tensor>
  readonly layers: readonly RepairedLayer[]
}

/** A channel of a smaller variance than this share of its target's is dead. */
const DEAD = 1e-12

/**
 * Gives every channel the mean and the deviation that `targets` name. Each layer is measured behind repaired ones, which
 * are normalised batch by batch as in recalibration: the larger the batches, the nearer to what it will see.
 */
export async function repair(
  model: Model,
  plan: RepairPlan,
  targets: readonly { readonly mean: Float64Array; readonly deviation: Float64Array }[],
  context: RepairContext,
): Promise<Repair> {
  const statistics = await measure(model, plan.layers, targets, context)
  const replacements = new Map<Tensor, Tensor>()
  const layers: RepairedLayer[] = []
  for (const [l, { node, weight, bias, axis, channels }] of plan.layers.entries()) {
    const { mean, variance } = statistics[l]!
    const { mean: wantedMean, deviation } = targets[l]!
    const isDead = (c: number) => !(variance[c]! > DEAD * (1 + deviation[c]! ** 2))
    const factors = Float64Array.from({ length: channels }, (_, c) =>
      isDead(c) ? 1 : deviation[c]! / Math.sqrt(variance[c]! + EPSILON),
    )
    const shifts = factors.map((factor, c) => (isDead(c) ? 0 : wantedMean[c]! - factor * mean[c]!))
    const given = (await bias.load()).view() as Float32Array
    replacements.set(weight, scaled(await weight.load(), axis, factors))
    const moved = Float32Array.from(given, (b, c) => b * factors[c]! + shifts[c]!)
    replacements.set(bias, Tensor.of('float32', bias.dims, moved))
    const dead = factors.filter((_, c) => isDead(c)).length
    const factor = factors.reduce((sum, x) => sum + x, 0) / channels
    layers.push({ node: node.label, channels, dead, factor })
  }
  return { replacements, layers }
}

/** A weight with each slice along an axis multiplied by its factor. */
function scaled(weight: Tensor, axis: number, factors: Float64Array): Tensor {
  const inner = weight.dims.slice(axis + 1).reduce((product, dim) => product * dim, 1)
  const x = weight.view() as Float32Array
  const y = Float32Array.from(x, (value, i) => value * factors[Math.floor(i / inner) % factors.length]!)
  return Tensor.of('float32', weight.dims, y)
}

/** Of the normalizations that measure; it must not change what they measure. */
const EPSILON = 1e-12

/** Measures behind layers, with normalizations put there: beside the graph, or, with targets, in it. */
async function measure(
  model: Model,
  layers: readonly RepairLayer[],
  targets: readonly { readonly mean: Float64Array; readonly deviation: Float64Array }[] | null,
  { open, batches, signal, onProgress }: RepairContext,
): Promise<readonly ChannelStatistics[]> {
  const { model: copy, values } = cloneModel(model)
  const sites = layers.map(({ node, channels }, l) => {
    const layer = values.get(node.output(0))!.producer!
    const target = targets?.[l]
    return insertNorm(copy.graph, layer, `repair_${l}`, {
      scale: target?.deviation ?? new Float64Array(channels).fill(1),
      bias: target?.mean ?? new Float64Array(channels),
      inside: target !== undefined,
    })
  })
  const report = await recalibrate(copy, open, batches(), {
    sites,
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress: ({ samples }: { samples: number }) => onProgress(samples) } : {}),
  })
  // Running variances are unbiased estimates; a deviation is that of the values themselves.
  return report.sites.map(({ after: { mean, variance }, count }) => ({
    mean,
    variance: variance.map(x => (x * (count - 1)) / count),
  }))
}

function insertNorm(
  graph: Graph,
  layer: Node,
  name: string,
  {
    scale,
    bias,
    inside,
  }: { readonly scale: Float64Array; readonly bias: Float64Array; readonly inside: boolean },
): BatchNormSite {
  const constant = (what: string, numbers: Iterable<number>) => {
    const values = Float32Array.from(numbers)
    const value = Value.constant(`${name}_${what}`, Tensor.of('float32', [values.length], values))
    graph.initializers.push(value)
    return value
  }
  const x = layer.output(0)
  const readers = usesOf(graph).get(x) ?? []
  const inputs = {
    scale: constant('scale', scale),
    bias: constant('bias', bias),
    mean: constant(
      'mean',
      scale.map(() => 0),
    ),
    variance: constant(
      'variance',
      scale.map(() => 1),
    ),
  }
  const y = new Value(`${name}_output`, x.type)
  const attributes = new Map([['epsilon', float(EPSILON)]])
  const node = new Node('BatchNormalization', [x, ...Object.values(inputs)], [y], { name, attributes })
  if (inside) {
    for (const { node: reader, index } of readers) reader.inputs[index] = y
    graph.outputs = graph.outputs.map(output => (output === x ? y : output))
  }
  graph.nodes.splice(graph.nodes.indexOf(layer) + 1, 0, node)
  return { node, graph, label: layer.label, form: 'inference', epsilon: EPSILON, momentum: 0.9, ...inputs }
}
