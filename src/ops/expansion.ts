/** Operators written out in simpler standard ones. */

import type { Builder } from '../ir/builder.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'

/**
 * Writes nodes that compute the outputs of `node` and gives their values (one value stands for output 0; null for outputs
 * that nobody reads). It reads the
 * node's attributes, its inputs and their static shapes; what it needs to know of an input's elements must be an
 * initializer.
 */
export type Expansion = (op: Builder, node: Node) => Value | readonly (Value | null)[]

export type Expansions = Readonly<Record<string, Expansion>>
