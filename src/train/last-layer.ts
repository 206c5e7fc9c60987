/** The last layer of a model: the weights that are trained alone while the rest is kept. */

import type { Graph } from '../ir/graph.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { checkPatterns, matchesPattern, variableValues } from '../passes/index.ts'
import { UsageError } from '../util/errors.ts'
import type { NamedWeight } from './layer-levels.ts'

/** Operators whose weights make a layer; others only add to one. */
const LAYERS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'Einsum'])

/** The names of the weights of each output's last layer, and of those that match one of the patterns. */
export function headWeights(
  graph: Graph,
  weights: readonly NamedWeight[],
  logits: readonly Value[],
  also: readonly string[],
): Set<string> {
  checkPatterns(
    '--head-only-train',
    also,
    weights.map(({ name }) => name),
  )
  const last = lastLayer(graph, logits)
  const head = weights.filter(
    ({ name, value }) => last.has(value) || also.some(pattern => matchesPattern(pattern, name)),
  )
  if (head.length === 0) {
    throw new UsageError('--head-only: the last layer has no weights that are trained', {
      cure: 'name the weights of the first phase with --head-only-train, or leave --head-only out',
    })
  }
  return new Set(head.map(({ name }) => name))
}

/** The initializers between the logits and the last layers on each way back from them, those layers' own included. */
function lastLayer(graph: Graph, logits: readonly Value[]): Set<Value> {
  const changing = variableValues(graph)
  const found = new Set<Value>()
  const visited = new Set<Value>()
  const pending = [...logits]
  for (let value = pending.pop(); value; value = pending.pop()) {
    if (visited.has(value)) continue
    visited.add(value)
    if (value.tensor !== null) found.add(value)
    const node = value.producer
    if (!node) continue
    const reads = [...readsOf(node)]
    const weights = reads.filter(read => !changing.has(read))
    const isEnd = changing.has(value) && LAYERS.has(node.opType) && weights.length > 0
    pending.push(...(isEnd ? weights : reads))
  }
  return found
}
