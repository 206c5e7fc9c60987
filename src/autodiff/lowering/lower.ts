/** Replaces the composite nodes of a graph by what an engine's table says. */

import { Builder, type OutputSpec } from '../../ir/builder.ts'
import type { Graph } from '../../ir/graph.ts'
import type { Node } from '../../ir/node.ts'
import { usesOf, walkGraphs } from '../../ir/topology.ts'
import { Value } from '../../ir/value.ts'
import { cloneGraph } from '../../passes/clone.ts'
import { bindOutput } from '../../passes/bind-output.ts'
import { namesOf } from '../../passes/names.ts'
import { invariant } from '../../util/errors.ts'
import { isComposite, type CompositeName } from '../composites.ts'

export interface LoweringContext {
  /** The tape that the replacement is written on. */
  readonly op: Builder
  /** The composite: its attributes, and the shapes of its outputs. */
  readonly node: Node
  /** The composite's inputs; all are there. */
  readonly inputs: readonly Value[]
  /** Whether somebody reads output `index`; what nobody reads should not be computed. */
  readonly wants: (index: number) => boolean
  /**
   * A further output of the node that made `value` (MaxPool's Indices, LayerNormalization's statistics): asked for where
   * it is absent. Null if `value` was not made by a node of that operator as its output 0.
   */
  readonly companion: (value: Value, opType: string, index: number, spec: OutputSpec) => Value | null
}

/**
 * Writes standard nodes (or other composites) and returns a value for each wanted output, null for the others. Null in
 * place of the list leaves the composite as it is: the engine executes it itself.
 */
export type Lowering = (context: LoweringContext) => readonly (Value | null)[] | null

/** A row for every composite: a hole is a compile error. */
export type CompositeLowerings = Readonly<Record<CompositeName, Lowering>>

/**
 * A graph that computes the same outputs with the composites replaced; names of inputs, outputs and composite results are
 * kept. The given graph stays as it is, so that several engines can lower one program; weights are shared.
 */
export function lowerComposites(graph: Graph, table: CompositeLowerings): Graph {
  const lowered = cloneGraph(graph)
  for (const inner of walkGraphs(lowered)) {
    const composite = inner === lowered ? undefined : inner.nodes.find(isComposite)
    invariant(!composite, `${composite?.label ?? ''} is inside a sub-graph: lower it before it is put there`)
  }
  const op = new Builder(namesOf(lowered))
  const read = new Set(usesOf(lowered).keys())
  for (const inner of walkGraphs(lowered)) for (const output of inner.outputs) read.add(output)
  const nodes: Node[] = []

  const place = (node: Node): void => {
    if (!isComposite(node)) {
      nodes.push(node)
      return
    }
    const lowering = table[node.opType as CompositeName] as Lowering | undefined
    invariant(lowering, `no lowering for ${node.label}`)
    const context: LoweringContext = {
      op,
      node,
      inputs: node.inputs.map((_, i) => node.input(i)),
      wants: index => read.has(node.outputs[index]!),
      companion: (value, opType, index, spec) => companion(op, value, opType, index, spec),
    }
    op.within(node.name, () => {
      const results = lowering(context)
      if (!results) {
        invariant(op.nodes.length === 0, `the lowering of ${node.label} wrote nodes and left it as it is`)
        nodes.push(node)
        return
      }
      const bound = new Map<Value, Value>()
      node.outputs.forEach((output, i) => {
        const result = results[i] ?? null
        if (output && context.wants(i)) bindOutput(op, output, result, bound, `output ${i} of ${node.label}`)
      })
    })
    const written = op.nodes.splice(0)
    // A lowering may write composites: those are lowered in their turn.
    for (const { inputs } of written) for (const input of inputs) if (input) read.add(input)
    for (const next of written) place(next)
  }

  for (const node of lowered.nodes) place(node)
  lowered.nodes = nodes
  lowered.initializers.push(...op.initializers)
  return lowered
}

/** See LoweringContext. */
function companion(op: Builder, value: Value, opType: string, index: number, spec: OutputSpec): Value | null {
  const node = value.producer
  if (node?.opType !== opType || node.domain !== '' || node.outputs[0] !== value) return null
  while (node.outputs.length <= index) node.outputs.push(null)
  const there = node.outputs[index]
  if (there) return there
  const name = op.uniqueName(`${value.name}:${index}`)
  const added = Value.typed(name, spec.dtype ?? value.dtype, spec.shape)
  added.producer = node
  node.outputs[index] = added
  return added
}
