/** Control flow that does not depend on the data is written out: branches, loops of known length, sequences. */

import { NON_DIFFERENTIABLE, operatorKey } from '../autodiff/index.ts'
import { readsOf } from '../ir/topology.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import {
  applyObserved,
  inlineBranches,
  isSequenceOperator,
  keptLoop,
  resolveSequences,
  unrollLoops,
  variableValues,
} from '../passes/index.ts'
import type { Engine, Feeds } from '../runtime/engine.ts'
import { observe } from '../runtime/observe.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { UnsupportedError } from '../util/errors.ts'

/** Operator -> inputs that decide what it does: condition, trip count, position. */
const DECIDING: Readonly<Record<string, readonly number[]>> = {
  If: [0],
  Loop: [0, 1],
  SequenceAt: [1],
  SequenceErase: [1],
  SequenceInsert: [2],
  SplitToSequence: [1],
}

/**
 * Observes what decides, and writes out what is decided, until nothing is left that can be. Only deciding values are
 * folded, so that weights stay what the file holds; those of branches and bodies become weights of the main graph.
 */
export async function openControlFlow(engine: Engine, model: Model, feeds: Feeds): Promise<void> {
  const { graph } = model
  let opened: boolean
  do {
    if (!graph.nodes.some(node => isControlFlow(node))) return
    const weights = graph.initializers.filter(({ tensor }) => tensor && DTYPES[tensor.dtype].float)
    const deciding = decidingValues(graph.nodes, variableValues(graph, weights))
    const { types, values } = await observe(engine, model, feeds, deciding)
    const shaped = measured(graph.nodes)
    const shapes = [...types].filter(([name]) => shaped.has(name))
    applyObserved(model, { types: new Map(shapes), values })
    opened = [inlineBranches, unrollLoops, resolveSequences].map(pass => pass(model).modified).some(Boolean)
  } while (opened)
}

/** Refuses control flow and sequences through which a gradient would have to pass; the rest runs as it is. */
export function refuseControlFlow({ graph }: Model, parameters: readonly Value[]): void {
  const active = new Set<Value>(parameters)
  for (const node of graph.nodes) {
    if (NON_DIFFERENTIABLE.has(operatorKey(node))) continue
    if (![...readsOf(node)].some(value => active.has(value))) continue
    if (isControlFlow(node)) {
      throw new UnsupportedError(`${node.label}: ${reasonOf(node)}, so no gradient passes it`, {
        cure: 'export the model with fixed sizes and without control flow, or freeze the weights before this node with --freeze',
      })
    }
    for (const output of node.outputs) {
      const float = output?.type?.kind !== 'tensor' || DTYPES[output.type.dtype].float
      if (output && float) active.add(output)
    }
  }
}

/** Why a node of control flow is still there. */
function reasonOf(node: Node): string {
  if (node.opType === 'If') return 'its condition depends on the data'
  return keptLoop(node) ?? 'the length or a position of its sequence depends on the data'
}

/** What decides and does not change from run to run, and is not known yet. */
function decidingValues(nodes: readonly Node[], changing: ReadonlySet<Value>): Value[] {
  const deciding = new Set<Value>()
  for (const node of nodes) {
    if (node.domain !== ONNX_DOMAIN) continue
    for (const index of DECIDING[node.opType] ?? []) {
      const value = node.inputs[index]
      if (value?.producer && !changing.has(value)) deciding.add(value)
    }
  }
  return [...deciding]
}

/** The values whose shapes decide: what Scan and SplitToSequence go along. */
function measured(nodes: readonly Node[]): Set<string> {
  const cut = nodes.filter(({ opType }) => opType === 'Scan' || opType === 'SplitToSequence')
  return new Set(cut.flatMap(({ inputs }) => inputs.flatMap(input => input?.name ?? [])))
}

function isControlFlow(node: Node): boolean {
  return (node.domain === ONNX_DOMAIN && CONTROL_FLOW.has(node.opType)) || isSequenceOperator(node)
}

const CONTROL_FLOW: ReadonlySet<string> = new Set(['If', 'Loop', 'Scan'])
