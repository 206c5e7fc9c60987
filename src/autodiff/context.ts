/** What the driver hands to a rule, and how rules for a node are found. */

import type { Builder } from '../ir/builder.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import type { Expansion } from '../ops/expansion.ts'
import { tensorOf } from '../passes/lift-constants.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { invariant, UnsupportedError } from '../util/errors.ts'
import type { GradientRule, RuleContext, RuleEntry, RuleTable } from './rule.ts'

/** The key of a node's operator in a rule table: `Relu`, `com.microsoft.Gelu`. */
export function operatorKey(node: Node): string {
  return node.key
}

/** The elements of an initializer or of the output of a Constant node; null for any other value. */
export function constantTensor(value: Value): Tensor | null {
  const tensor = tensorOf(value)
  return tensor?.resident ? tensor : null
}

/** Differentiates nodes that a rule has written; the driver's own `pullBack`, with its rules and opset. */
export type PullBack = (
  nodes: readonly Node[],
  seeds: ReadonlyMap<Value, Value>,
  targets: readonly Value[],
) => ReadonlyMap<Value, Value>

export class NodeContext implements RuleContext {
  readonly op: Builder
  readonly node: Node
  readonly grads: readonly (Value | null)[]
  readonly #active: ReadonlySet<Value>
  readonly #pullBack: PullBack

  constructor(
    op: Builder,
    node: Node,
    grads: readonly (Value | null)[],
    active: ReadonlySet<Value>,
    pullBack: PullBack,
  ) {
    this.op = op
    this.node = node
    this.grads = grads
    this.#active = active
    this.#pullBack = pullBack
  }

  get inputs(): readonly (Value | null)[] {
    return this.node.inputs
  }

  get outputs(): readonly (Value | null)[] {
    return this.node.outputs
  }

  get dy(): Value {
    const dy = this.grads[0]
    invariant(dy, `rule of ${this.node.label} reads the gradient of output 0, which has none`)
    return dy
  }

  // Properties, not methods: rules take them out of the context.
  readonly needs = (index: number): boolean => {
    const input = this.node.inputs[index]
    return input ? this.#active.has(input) : false
  }

  readonly constant = (index: number): number[] => {
    const input = this.node.input(index)
    const tensor = constantTensor(input)
    if (!tensor) {
      throw new UnsupportedError(
        `gradient: input ${index} (${input.toString()}) of ${this.node.label} should be constant, found a computed value`,
        { cure: 'export the model with static shapes' },
      )
    }
    // Not Tensor.toNumbers: Slice marks "to the end" with the largest int64, which may lose its last bits here.
    return tensor.dtype === 'int64' ? Array.from(tensor.view(), Number) : tensor.toNumbers()
  }

  readonly through = (expand: Expansion): (Value | null)[] => {
    const { op, node } = this
    const start = op.nodes.length
    const outputs = [expand(op, node)].flat()
    const written = op.nodes.slice(start)
    const seeds = new Map<Value, Value>()
    outputs.forEach((y, i) => {
      const dy = this.grads[i]
      if (!dy || !y) return
      // One value may stand for two outputs.
      const known = seeds.get(y)
      seeds.set(y, known ? op.Add(known, dy) : dy)
    })
    const targets = node.inputs.filter((input, i) => input !== null && this.needs(i)) as Value[]
    const found = this.#pullBack(written, seeds, [...new Set(targets)])
    dropUnread(op, start, found.values())
    // A value that is read twice has one gradient, for its first place.
    return node.inputs.map((input, i) =>
      input && this.needs(i) && node.inputs.indexOf(input) === i ? found.get(input)! : null,
    )
  }
}

/** Removes the nodes from `start` on that the results do not depend on. */
function dropUnread(op: Builder, start: number, results: Iterable<Value>): void {
  const read = new Set(results)
  const kept: Node[] = []
  for (const node of op.nodes.splice(start).reverse()) {
    if (!node.outputs.some(output => output && read.has(output))) continue
    for (const value of readsOf(node)) read.add(value)
    kept.push(node)
  }
  op.nodes.push(...kept.reverse())
}

export interface VersionedRule {
  readonly rule: GradientRule
  readonly since: number
  readonly broadcasts: boolean
}

/** The rule that applies to a node at an opset: of the highest version that is not above it. */
export function ruleFor(rules: RuleTable, node: Node, opset: number): VersionedRule {
  const entry: RuleEntry | undefined = rules[operatorKey(node)]
  const where = `domain ${node.domain || 'ai.onnx'}, opset ${node.domain === ONNX_DOMAIN ? opset : 1}`
  if (!entry) {
    const control = [...node.subgraphs()].length > 0
    throw new UnsupportedError(
      `gradient: no rule for ${node.label} (${where})${control ? ': it runs a sub-graph' : ''}`,
      {
        cure: control
          ? 'export the model without control flow, or freeze the parameters that feed this node'
          : 'freeze the parameters that feed this node, or export the model with other operators',
      },
    )
  }
  const version = node.domain === ONNX_DOMAIN ? opset : Infinity
  const since = Object.keys(entry.versions)
    .map(Number)
    .filter(candidate => candidate <= version)
    .reduce((best, candidate) => Math.max(best, candidate), 0)
  const rule = entry.versions[since]
  if (!rule) {
    throw new UnsupportedError(
      `gradient: the rules for ${node.label} (${where}) begin at opset ${Math.min(...Object.keys(entry.versions).map(Number))}`,
      { cure: 'raise the opset of the model' },
    )
  }
  return { rule, since, broadcasts: entry.broadcasts ?? false }
}
