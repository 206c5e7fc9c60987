/** Rewrites a model of opset 9 to 17 in the operators of opset 18, sub-graphs included: one dialect for all later steps. */

import { invariant, UnsupportedError } from '../util/errors.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf, walkGraphs } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { Names } from './names.ts'
import { RaiseContext, type RaiseOptions } from './opset/context.ts'
import { Facts } from './opset/facts.ts'
import {
  intsToInputs,
  raiseClip,
  raiseDropout,
  raisePad,
  raiseSplit,
  raiseTopK,
  type Raise,
} from './opset/inputs.ts'
import {
  raiseBatchNorm,
  raiseCoerced,
  raiseResize,
  raiseRoiAlign,
  raiseScatter,
  refuse,
} from './opset/operators.ts'
import type { PassResult } from './pass.ts'

const OLDEST = 9
/** The newest opset that models are raised to. */
export const NEWEST_KNOWN_CHANGES = 18

/** IR version 8 came with the opsets from 15 on. */
const IR_VERSION = 8

/**
 * Operator -> the opset that changed it -> the raise. Operators that are not here kept their meaning from 9 to 18: new
 * versions added types, negative axes, or attributes whose default is what was there before.
 */
const RAISES: Readonly<Record<string, Readonly<Record<number, Raise>>>> = {
  Slice: { 10: intsToInputs('starts', 'ends', 'axes') },
  TopK: { 10: raiseTopK },
  Upsample: { 10: raiseResize },
  Resize: { 11: raiseResize },
  Clip: { 11: raiseClip },
  Pad: { 11: raisePad },
  Scatter: { 11: raiseScatter },
  Dropout: { 12: raiseDropout },
  Softmax: { 13: raiseCoerced },
  LogSoftmax: { 13: raiseCoerced },
  Hardmax: { 13: raiseCoerced },
  Squeeze: { 13: intsToInputs('axes') },
  Unsqueeze: { 13: intsToInputs('axes') },
  Split: { 13: intsToInputs('split'), 18: raiseSplit },
  BatchNormalization: { 14: raiseBatchNorm },
  RoiAlign: { 16: raiseRoiAlign },
  ReduceSum: { 13: intsToInputs('axes') },
  ReduceMean: { 18: intsToInputs('axes') },
  ReduceMax: { 18: intsToInputs('axes') },
  ReduceMin: { 18: intsToInputs('axes') },
  ReduceProd: { 18: intsToInputs('axes') },
  ReduceL1: { 18: intsToInputs('axes') },
  ReduceL2: { 18: intsToInputs('axes') },
  ReduceLogSum: { 18: intsToInputs('axes') },
  ReduceLogSumExp: { 18: intsToInputs('axes') },
  ReduceSumSquare: { 18: intsToInputs('axes') },
  ...Object.fromEntries(
    ['Affine', 'ATen', 'Crop', 'DynamicSlice', 'GivenTensorFill', 'GRUUnit', 'ImageScaler'].map(name => [
      name,
      { 10: refuse },
    ]),
  ),
  ...Object.fromEntries(['ParametricSoftplus', 'Scale', 'ScaledTanh'].map(name => [name, { 10: refuse }])),
}

/** Raises a model below `target` to it; a model at `target` or above stays as it is. */
export function raiseOpset(
  model: Model,
  target = NEWEST_KNOWN_CHANGES,
  options: RaiseOptions = {},
): PassResult {
  invariant(target <= NEWEST_KNOWN_CHANGES, `no raises are known to opset ${target}`)
  const from = model.opset
  if (from >= target) return { model, modified: false }
  if (from < OLDEST) {
    throw new UnsupportedError(`model: expected opset ${OLDEST} to 23, found ${from}`, {
      cure: 'convert it with onnx.version_converter, or export it again',
    })
  }
  if (model.functions.length > 0) {
    throw new UnsupportedError(`model: expected local functions in opset ${target} or later, found ${from}`, {
      cure: 'inline the functions first',
    })
  }
  const graphs = [...walkGraphs(model.graph)]
  const read = new Set<Value>([...usesOf(model.graph).keys(), ...graphs.flatMap(graph => graph.outputs)])
  const scope = {
    ...options,
    ...{ from, to: target, read },
    names: new Names(model.graph),
    facts: new Facts(model.graph),
  }
  for (const graph of graphs) {
    const context = new RaiseContext(scope, graph)
    graph.nodes = graph.nodes.flatMap(node => raiseNode(node, context))
  }
  model.opsetImports.set(ONNX_DOMAIN, target)
  model.irVersion = Math.max(model.irVersion, IR_VERSION)
  return { model, modified: true }
}

/** Applies the raises between both opsets in order; a replaced node has the newest form already. */
function raiseNode(node: Node, context: RaiseContext): Node[] {
  if (node.domain !== ONNX_DOMAIN) return [node]
  for (const [since, raise] of Object.entries(RAISES[node.opType] ?? {})) {
    if (Number(since) <= context.from || Number(since) > context.to) continue
    const nodes = raise(node, context)
    if (nodes) return nodes
  }
  return [node]
}
