/** A model exported for one batch size holds that size inside constant shapes too: they follow the new one. */

import { UnsupportedError } from '../util/errors.ts'
import { formatShape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { SHAPE_READERS, variableValues } from './dependence.ts'
import { constantValues } from './fold-constants.ts'
import { tensorOf } from './lift-constants.ts'
import { Names } from './names.ts'
import type { PassResult } from './pass.ts'

/** Operator -> its input that holds the whole shape of its output, batch first. */
const SHAPE_INPUTS: Readonly<Record<string, number>> = { Reshape: 1, Resize: 3 }

/**
 * Gives constant shapes of activations the new batch size; nothing happens in models whose inputs do not agree on one.
 * For each constant shape that an activation takes:
 * 1. It begins with the old batch size: it begins with the new one.
 * 2. It begins with 0 (as the input) or -1 (whatever is left): it fits every batch.
 * 3. Anything else would spread samples over one another, or not fit: refused.
 */
export async function rebatch(model: Model, batch: number): Promise<PassResult> {
  const { graph } = model
  const old = fixedBatchSize(graph)
  if (old === null || old === batch) return { model, modified: false }
  const changing = variableValues(graph)
  const names = new Names(graph)
  let modified = false
  for (const inner of walkGraphs(graph)) {
    for (const node of inner.nodes) {
      const index = shapeInput(node)
      const shape = index === null ? null : tensorOf(node.inputs[index])
      if (index === null || !shape || !changing.has(node.input(0))) continue
      const dims = (await shape.load()).toNumbers()
      // 1. The old batch size.
      if (dims[0] === old) {
        const value = names.fresh(`${node.input(index).name}/batch`)
        const tensor = Tensor.of('int64', [dims.length], [batch, ...dims.slice(1)].map(BigInt))
        node.inputs[index] = Value.constant(value, tensor)
        graph.initializers.push(node.input(index))
        modified = true
        continue
      }
      // 2., 3. Any batch, or none but the old one.
      if (dims.length > 0 && dims[0]! > 0) throw refusal(node, dims, old, batch)
    }
  }
  return { model, modified }
}

/** The shapes that constants alone compute: to be folded first. Those that follow from `Shape` are right by themselves. */
export function computedShapes(graph: Graph): Value[] {
  const measured = graph.nodes.filter(({ opType }) => SHAPE_READERS.has(opType))
  const wanted = new Set(
    graph.nodes.flatMap(node => {
      const index = shapeInput(node)
      return index === null ? [] : [node.input(index)]
    }),
  )
  const constant = constantValues(
    graph,
    measured.map(node => node.output(0)),
  )
  return constant.filter(value => wanted.has(value))
}

/** The first dimension of all fed inputs, where they have the same fixed one. */
export function fixedBatchSize(graph: Graph): number | null {
  const sizes = new Set(
    graph.feeds.map(({ type }) => (type?.kind === 'tensor' ? (type.shape?.[0] ?? null) : null)),
  )
  const [size] = sizes
  return sizes.size === 1 && typeof size === 'number' ? size : null
}

function shapeInput(node: Node): number | null {
  if (node.domain !== ONNX_DOMAIN || node.attributes.has('axes')) return null
  const index = SHAPE_INPUTS[node.opType]
  return index !== undefined && node.inputs[index] ? index : null
}

function refusal(node: Node, dims: readonly number[], old: number, batch: number): Error {
  return new UnsupportedError(
    `${node.label}: the model was exported for a batch of ${old}, found the shape ${formatShape(dims)}, which does not tell where a batch of ${batch} goes`,
    { cure: `export the model with a dynamic batch dimension, or use --batch-size ${old}` },
  )
}
