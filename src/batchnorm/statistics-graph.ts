/** The graph that measures: the model with every chosen batch normalization using, and giving out, its batch's statistics. */

import { UnsupportedError, invariant } from '../util/errors.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { Tensor } from '../tensor/tensor.ts'
import { float, int, type Attribute } from '../ir/attribute.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'
import {
  cloneModel,
  liftConstants,
  Names,
  raiseOpset,
  removeDeadNodes,
  tensorOf,
  toInferenceForm,
  type BatchNormSite,
} from '../passes/index.ts'

/** Names of the graph outputs that one site gives. The batch mean is mean + shift. */
export interface SiteOutputs {
  readonly site: BatchNormSite
  /** Per-channel mean in float32. */
  readonly mean: string
  /** What is left of the mean after it was subtracted: the rounding error of `mean`. */
  readonly shift: string
  /** Sum of squared distances from `mean`. */
  readonly m2: string
  /** Shape of the input: batch, channels, ... */
  readonly shape: string
}

export interface StatisticsGraph {
  readonly model: Model
  readonly outputs: readonly SiteOutputs[]
}

/**
 * Builds the statistics graph of a model; the model stays as it is.
 * 1. A copy in one opset, its training form off (no dropout), all weights initializers.
 * 2. Each site becomes nodes that centre the input, square and sum it (two passes, so that a large mean does not eat
 *    the variance), and a normalization of the centred input by the batch's own statistics.
 * 3. The outputs are the statistics; what comes after the last site is dropped. Inputs stay, so callers feed the same.
 */
export function buildStatisticsGraph(model: Model, sites: readonly BatchNormSite[]): StatisticsGraph {
  const { model: copy, values } = cloneModel(model)
  const { graph } = copy
  liftConstants(copy)
  raiseOpset(copy)
  graph.outputs = []
  toInferenceForm(copy)
  const writer = new SiteWriter(graph)
  const outputs = sites.map(site => {
    if (site.graph !== model.graph) {
      throw new UnsupportedError(
        `${site.label}: is inside a sub-graph, where its statistics cannot be measured`,
        {
          cure: 'leave it out, or export the model without control flow',
        },
      )
    }
    const node = values.get(site.node.output(0))?.producer
    invariant(node, `${site.label} is not part of the model`)
    return writer.replace(node, site)
  })
  graph.nodes = graph.nodes.flatMap(node => writer.replaced.get(node) ?? [node])
  removeDeadNodes(copy)
  return { model: copy, outputs }
}

/** Writes the nodes of a site. */
class SiteWriter {
  readonly replaced = new Map<Node, Node[]>()
  readonly #graph: Graph
  readonly #names: Names
  readonly #overBatch: Value
  readonly #overPositions: Value
  readonly #matrices: Value

  constructor(graph: Graph) {
    this.#graph = graph
    this.#names = new Names(graph)
    this.#overBatch = this.#int64s('batch_axis', [0])
    this.#overPositions = this.#int64s('position_axis', [2])
    this.#matrices = this.#int64s('batch_channel_rest', [0, 0, -1])
  }

  replace(node: Node, site: BatchNormSite): SiteOutputs {
    const nodes: Node[] = []
    const base = `${node.name || node.output(0).name}/statistics`
    const emit = (role: string, opType: string, inputs: readonly Value[], attributes: Attributes = {}) => {
      const name = this.#names.fresh(`${base}/${role}`)
      const output = new Value(name)
      nodes.push(
        new Node(opType, inputs, [output], { name, attributes: new Map(Object.entries(attributes)) }),
      )
      return output
    }
    const [x, y] = [node.input(0), node.output(0)]
    const half = tensorOf(site.scale)?.dtype !== 'float32'
    const single = (role: string, value: Value) =>
      half ? emit(role, 'Cast', [value], { to: int(DTYPES.float32.onnx) }) : value
    // Two steps keep partial sums short: over the positions of a sample, then over the samples.
    const reduce = (role: string, opType: string, last: string, input: Value) =>
      emit(role, last, [emit(`${role}_per_sample`, opType, [input, this.#overPositions]), this.#overBatch])

    const shape = emit('shape', 'Shape', [x])
    const columns = emit('columns', 'Reshape', [single('x', x), this.#matrices])
    const mean = reduce('mean', 'ReduceMean', 'ReduceMean', columns)
    const centered = emit('centered', 'Sub', [columns, mean])
    const shift = reduce('shift', 'ReduceMean', 'ReduceMean', centered)
    const m2 = reduce('m2', 'ReduceSumSquare', 'ReduceSum', centered)

    // y = scale * (centered - shift) / sqrt(m2 / n + epsilon) + bias
    const channels = tensorOf(site.mean)!.size
    const size = emit('size', 'Cast', [emit('elements', 'Size', [x])], { to: int(DTYPES.float32.onnx) })
    const count = emit('count', 'Div', [size, this.#float32(`${base}/channels`, channels)])
    const flat = this.#int64s(`${base}/flat`, [channels])
    const normalized = emit(
      'normalized',
      'BatchNormalization',
      [
        emit('centered_as_x', 'Reshape', [centered, shape]),
        single('scale', node.input(1)),
        single('bias', node.input(2)),
        emit('batch_mean', 'Reshape', [shift, flat]),
        emit('batch_variance', 'Reshape', [emit('variance', 'Div', [m2, count]), flat]),
      ],
      { epsilon: float(site.epsilon) },
    )
    nodes.push(new Node(half ? 'CastLike' : 'Identity', half ? [normalized, x] : [normalized], [y]))

    this.replaced.set(node, nodes)
    this.#graph.outputs.push(mean, shift, m2, shape)
    return { site, mean: mean.name, shift: shift.name, m2: m2.name, shape: shape.name }
  }

  #int64s(name: string, values: readonly number[]): Value {
    return this.#constant(name, Tensor.of('int64', [values.length], values.map(BigInt)))
  }

  #float32(name: string, value: number): Value {
    return this.#constant(name, Tensor.scalar('float32', value))
  }

  #constant(name: string, tensor: Tensor): Value {
    const value = Value.constant(this.#names.fresh(name), tensor)
    this.#graph.initializers.push(value)
    return value
  }
}

type Attributes = Readonly<Record<string, Attribute>>
