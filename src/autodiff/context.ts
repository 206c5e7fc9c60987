/** What the driver hands to a rule, and how rules for a node are found. */

import type { Builder } from '../ir/builder.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import { tensorOf } from '../passes/lift-constants.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { invariant, UnsupportedError } from '../util/errors.ts'
import { REFUSED } from './refused.ts'
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

export class NodeContext implements RuleContext {
  readonly op: Builder
  readonly node: Node
  readonly grads: readonly (Value | null)[]
  readonly pullBack: RuleContext['pullBack']
  readonly #active: ReadonlySet<Value>

  constructor(
    op: Builder,
    node: Node,
    grads: readonly (Value | null)[],
    active: ReadonlySet<Value>,
    pullBack: RuleContext['pullBack'],
  ) {
    this.pullBack = pullBack
    this.op = op
    this.node = node
    this.grads = grads
    this.#active = active
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
    const reason = control ? 'it runs a sub-graph' : REFUSED[node.key] && `it ${REFUSED[node.key]!}`
    throw new UnsupportedError(
      `gradient: no rule for ${node.label} (${where})${reason ? `: ${reason}` : ''}`,
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
