/** Finds the BatchNormalization nodes whose running statistics are weights of the model. */

import type { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { variableValues } from './dependence.ts'
import { withoutFunctions } from './inline-functions.ts'
import { tensorOf } from './lift-constants.ts'
import { sourceOf } from './sources.ts'

export interface BatchNormSite {
  readonly node: Node
  /** The graph that holds the node: the main graph or a sub-graph. */
  readonly graph: Graph
  /** `BatchNormalization "name"`. */
  readonly label: string
  /** `training`: the node itself normalises with the statistics of its batch. */
  readonly form: 'inference' | 'training'
  readonly epsilon: number
  /** Of the running average: `running · momentum + batch · (1 - momentum)`. */
  readonly momentum: number
  /** What the inputs come from, behind Identity, Cast and Reshape; mean and variance are weights always. */
  readonly scale: Value
  readonly bias: Value
  readonly mean: Value
  readonly variance: Value
}

/**
 * The batch normalizations of a model and of its sub-graphs, in graph order. Left out are nodes that normalise a weight
 * (weight standardisation) and nodes whose statistics the graph computes: nothing of theirs is stored.
 */
export function findBatchNorms(model: Model): BatchNormSite[] {
  const changing = variableValues(model.graph)
  const sites: BatchNormSite[] = []
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      if (!isBatchNorm(node) || !changing.has(node.input(0))) continue
      const [scale, bias, mean, variance] = [1, 2, 3, 4].map(index => sourceOf(node.input(index)))
      if (!tensorOf(mean) || !tensorOf(variance)) continue
      sites.push({
        node,
        graph,
        label: node.label,
        form: isTrainingForm(node) ? 'training' : 'inference',
        epsilon: node.float('epsilon', 1e-5),
        momentum: node.float('momentum', 0.9),
        scale: scale!,
        bias: bias!,
        mean: mean!,
        variance: variance!,
      })
    }
  }
  return sites
}

/** How many batch normalizations a model has, those in local functions included. */
export function countBatchNorms(model: Model): number {
  return findBatchNorms(withoutFunctions(model)).length
}

export function isBatchNorm(node: Node): boolean {
  return node.opType === 'BatchNormalization' && node.domain === ONNX_DOMAIN
}

/** From opset 14 an attribute says so; before, asking for more than one output did. */
export function isTrainingForm(node: Node): boolean {
  return node.int('training_mode', 0) === 1 || node.outputs.slice(1).some(output => output !== null)
}
