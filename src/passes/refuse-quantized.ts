/** Quantized graphs are refused by name: their integer weights cannot be averaged or trained. */

import { UnsupportedError } from '../util/errors.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'

const QUANTIZED: ReadonlySet<string> = new Set([
  'QuantizeLinear',
  'DequantizeLinear',
  'DynamicQuantizeLinear',
  'QLinearConv',
  'QLinearMatMul',
  'ConvInteger',
  'MatMulInteger',
])

/** Contrib operators on quantized tensors: QGemm, QLinearAdd, MatMulNBits, DynamicQuantizeMatMul, MatMulBnb4, ... */
const QUANTIZED_CONTRIB = /^Q[A-Z]|Quantize|Integer|NBits|Bnb4|BlockQuantized/

/** Throws an UnsupportedError that lists the quantized operators of a model and how often each occurs. */
export function refuseQuantized(model: Model): void {
  const counts = new Map<string, number>()
  let first: Node | undefined
  for (const graph of [model.graph, ...model.functions.map(definition => definition.graph)]) {
    for (const node of walkNodes(graph)) {
      if (!isQuantized(node)) continue
      first ??= node
      counts.set(node.opType, (counts.get(node.opType) ?? 0) + 1)
    }
  }
  if (!first) return
  const list = [...counts].map(([opType, count]) => `${opType} x ${count}`).join(', ')
  throw new UnsupportedError(
    `model: expected float weights, found a quantized graph (${list}; first ${first.label})`,
    {
      cure: 'use the float model it was made from, then quantize the result',
    },
  )
}

function isQuantized(node: Node): boolean {
  return node.domain === ONNX_DOMAIN ? QUANTIZED.has(node.opType) : QUANTIZED_CONTRIB.test(node.opType)
}
