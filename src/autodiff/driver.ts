/**
 * Reverse-mode differentiation of a graph into a graph.
 *
 * 1. Forward: mark the values that depend on a target through float-valued, differentiable operators (`active`).
 * 2. Backward, from the last node: a node that has an active input and an output with a gradient gives its rule the word;
 *    what the rule returns is checked, summed to the operand's shape where operands broadcast, and added up per value.
 *
 * A node's gradient is written when the walk reaches it, so gradients of late layers are consumed before those of early
 * layers exist. Each operator is in one of three states: it has a rule, it is non-differentiable (gradients stop), or it
 * is unsupported (an error, but only where a gradient really arrives).
 */

import type { Builder } from '../ir/builder.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, sameShape, sizeOf } from '../tensor/shape.ts'
import { InputError, invariant } from '../util/errors.ts'
import { NodeContext, ruleFor, type PullBack, type VersionedRule } from './context.ts'
import { NON_DIFFERENTIABLE } from './nondifferentiable.ts'
import type { RuleTable } from './rule.ts'
import { sumTo } from './unbroadcast.ts'

export interface DifferentiateOptions {
  readonly rules: RuleTable
  /** The opset of the forward nodes, which is that of the emitted nodes too. */
  readonly opset: number
  /** A target that the loss does not depend on: a tensor of zeros (the default), or an error. */
  readonly unreached?: 'zero' | 'error'
}

const GRADIENT_DTYPES: ReadonlySet<DType> = new Set<DType>(['float32', 'float64', 'float16', 'bfloat16'])

/** The gradient of the scalar `loss` with respect to each target. `nodes` are in topological order. */
export function differentiate(
  builder: Builder,
  nodes: readonly Node[],
  loss: Value,
  targets: readonly Value[],
  options: DifferentiateOptions,
): Map<Value, Value> {
  invariant(sizeOf(loss.shape) === 1, `the loss should be a scalar, found ${loss.toString()}`)
  const one = builder.full(loss.shape, 1, loss.dtype)
  return pullBack(builder, nodes, new Map([[loss, one]]), targets, options)
}

/**
 * The gradient with respect to each target of `sum over seeds of <value, seed>`: `differentiate` for values of any shape.
 * A seed has the shape and element type of its value.
 */
export function pullBack(
  builder: Builder,
  nodes: readonly Node[],
  seeds: ReadonlyMap<Value, Value>,
  targets: readonly Value[],
  options: DifferentiateOptions,
): Map<Value, Value> {
  for (const target of targets) {
    if (!carriesGradient(target))
      throw new InputError(`gradient: ${target.toString()} is not a tensor of real numbers`)
  }
  const forward = [...nodes]
  const active = activeValues(forward, targets)
  const gradients = new Gradients(builder)
  for (const [value, seed] of seeds) {
    invariant(sameType(value, seed), `seed ${seed.toString()} of ${value.toString()} has another type`)
    gradients.add(value, seed)
  }
  const inner: PullBack = (written, ends, starts) =>
    pullBack(builder, written, ends, starts, { ...options, unreached: 'zero' })
  for (const node of forward.reverse()) {
    if (isBarrier(node) || !reads(node, active)) continue
    const grads = node.outputs.map(output => (output ? gradients.of(output) : null))
    if (grads.every(grad => grad === null)) continue
    const found = ruleFor(options.rules, node, options.opset)
    builder.within(`${nameOf(node)}_grad`, () => {
      const context = new NodeContext(builder, node, grads, active, inner)
      const returned = found.rule(context)
      const results = node.inputs.map((input, i) => {
        invariant(returned[i] !== undefined, `${describe(node, found)} returned ${returned.length} gradients`)
        return input && active.has(input) ? operandGradient(builder, node, found, i, returned[i]) : null
      })
      const surplus = returned.slice(node.inputs.length).some(gradient => gradient !== null)
      invariant(!surplus, `${describe(node, found)} returned a gradient for an input that is not there`)
      results.forEach((gradient, i) => gradient && gradients.add(node.input(i), gradient))
    })
    gradients.own()
  }
  return new Map(targets.map(target => [target, gradients.of(target) ?? unreached(builder, target, options)]))
}

/** The gradients known so far, added up pairwise in the order of their arrival. */
class Gradients {
  readonly #builder: Builder
  readonly #sums = new Map<Value, Value>()
  /** Written here and not called `<value>_grad` yet. */
  readonly #unnamed = new Set<Value>()
  #seen: number

  constructor(builder: Builder) {
    this.#builder = builder
    this.#seen = builder.nodes.length
  }

  add(value: Value, gradient: Value): void {
    const sum = this.#sums.get(value)
    this.#sums.set(value, sum ? this.#builder.Add(sum, gradient) : gradient)
  }

  /** Takes note of the values written since the last call. */
  own(): void {
    for (; this.#seen < this.#builder.nodes.length; this.#seen++) {
      for (const output of this.#builder.nodes[this.#seen]!.outputs) if (output) this.#unnamed.add(output)
    }
  }

  /** The complete gradient of a value all of whose consumers were visited; null if none arrived. */
  of(value: Value): Value | null {
    const sum = this.#sums.get(value)
    if (!sum) return null
    if (this.#unnamed.delete(sum)) sum.name = this.#builder.uniqueName(`${value.name}_grad`)
    return sum
  }
}

/** The targets and every value that a gradient on its way to a target passes through. */
function activeValues(nodes: readonly Node[], targets: readonly Value[]): Set<Value> {
  const active = new Set(targets)
  for (const node of nodes) {
    if (isBarrier(node) || !reads(node, active)) continue
    for (const output of node.outputs) if (output && carriesGradient(output)) active.add(output)
  }
  return active
}

function isBarrier(node: Node): boolean {
  return node.domain === ONNX_DOMAIN && NON_DIFFERENTIABLE.has(node.opType)
}

function reads(node: Node, active: ReadonlySet<Value>): boolean {
  for (const value of readsOf(node)) if (active.has(value)) return true
  return false
}

/** Integer tensors carry none. Sequences may: they are followed, so that an operator on them is refused by name. */
function carriesGradient(value: Value): boolean {
  return value.type?.kind !== 'tensor' || GRADIENT_DTYPES.has(value.type.dtype)
}

function sameType(a: Value, b: Value): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape)
}

/** What a rule returned for input `index`, summed over broadcast axes and checked. */
function operandGradient(
  builder: Builder,
  node: Node,
  found: VersionedRule,
  index: number,
  returned: Value | null | undefined,
): Value | null {
  if (!returned) return null
  const input = node.input(index)
  const gradient = found.broadcasts ? sumTo(builder, returned, input.shape) : returned
  invariant(
    sameType(input, gradient),
    `${describe(node, found)} returned ${gradient.dtype}${formatShape(gradient.shape)} for input ${index}, expected ${input.dtype}${formatShape(input.shape)}`,
  )
  return gradient
}

function unreached(builder: Builder, target: Value, options: DifferentiateOptions): Value {
  if (options.unreached === 'error') {
    throw new InputError(`gradient: the loss does not depend on ${target.toString()}`, {
      cure: 'freeze it, or leave it out',
    })
  }
  return builder.within(`${target.name}_grad`, () => builder.full(target.shape, 0, target.dtype))
}

function nameOf(node: Node): string {
  return node.name || (node.outputs.find(output => output)?.name ?? node.opType)
}

function describe(node: Node, found: VersionedRule): string {
  return `the gradient rule of ${node.label} (since opset ${found.since})`
}
