/**
 * What a gradient rule sees and gives back.
 *
 * Words used in rules: `x`, `w`, `b` are inputs, `y` the output of the forward node; `dy` is the gradient of the loss
 * with respect to `y` and has y's shape; `dx` is what the rule returns for `x`. All values have static shapes.
 */

import type { Builder } from '../ir/builder.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import type { Expansion } from '../ops/expansion.ts'

export interface RuleContext {
  /** The tape that the rule writes on. */
  readonly op: Builder
  /** The forward node: `node.input(0)`, `node.ints('pads', ...)`. */
  readonly node: Node
  readonly inputs: readonly (Value | null)[]
  readonly outputs: readonly (Value | null)[]
  /** Gradient of each output; null where no gradient arrives (at least one does). */
  readonly grads: readonly (Value | null)[]
  /** The gradient of output 0, which the driver makes sure is there for rules of one-output operators. */
  readonly dy: Value
  /** Whether the gradient of input `index` is wanted; a rule may return null for the others, and should where it saves work. */
  needs(index: number): boolean
  /** The elements of an input that is constant at import time (axes, pads, sizes); throws, naming the node, if it is not. */
  constant(index: number): number[]
  /**
   * The gradients of the inputs by way of other nodes that compute the same outputs: what `expand` writes is differentiated
   * in the node's place. Of its nodes those stay that some gradient reads.
   */
  through(expand: Expansion): (Value | null)[]
}

/**
 * Gradients aligned with the node's inputs; null for an input that has none or needs none. A rule marked as broadcasting
 * may return a gradient of the output's shape: the driver sums it to the input's shape.
 */
export type GradientRule = (context: RuleContext) => (Value | null)[]

/** One operator's rules: the highest `since` not above the model's opset applies. */
export interface RuleEntry {
  /** Since-version of the operator -> rule. */
  readonly versions: Readonly<Record<number, GradientRule>>
  /** Inputs broadcast against each other (Add, Where, ...): the driver sums gradients back to input shapes. */
  readonly broadcasts?: boolean
}

export type RuleTable = Readonly<Record<string, RuleEntry>>

/** A row for an operator with one rule for all supported versions. */
export function rule(gradient: GradientRule): RuleEntry {
  return { versions: { 1: gradient } }
}

/** A row for an element-wise operator with broadcasting operands. */
export function broadcasting(gradient: GradientRule): RuleEntry {
  return { versions: { 1: gradient }, broadcasts: true }
}

/** A row for an operator whose gradient is that of its expansion. */
export function expanded(expand: Expansion): RuleEntry {
  return rule(context => context.through(expand))
}

/** The domain of composite operators: emitted by rules, replaced by each engine's lowering before execution. */
export const COMPOSITE_DOMAIN = 'swa.composite'
