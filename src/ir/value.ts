/** Values: the edges of a graph. */

import { invariant } from '../util/errors.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Node } from './node.ts'

/** A dimension: known, symbolic (`dim_param`) or unknown. */
export type Dim = number | string | null

/** A tensor type; `shape` null means that even the rank is unknown. */
export interface TensorType {
  readonly kind: 'tensor'
  readonly dtype: DType
  readonly shape: readonly Dim[] | null
}

/** Sequence, optional, map and sparse types are carried, not interpreted. */
export interface OpaqueType {
  readonly kind: 'opaque'
  readonly description: string
}

export type ValueType = TensorType | OpaqueType

/**
 * A value has one producer: a node, or none when it is a graph input or an initializer.
 * Consumers are not stored; `usesOf` (topology.ts) lists them.
 */
export class Value {
  name: string
  type: ValueType | null
  /** The initializer's elements; null for everything else. */
  tensor: Tensor | null = null
  producer: Node | null = null
  /** What the file said about this value and the IR does not model; opaque, for the serializer. */
  extra: unknown = undefined

  constructor(name: string, type: ValueType | null = null) {
    this.name = name
    this.type = type
  }

  /** A value of static shape. */
  static typed(name: string, dtype: DType, shape: readonly Dim[]): Value {
    return new Value(name, { kind: 'tensor', dtype, shape })
  }

  /** An initializer. */
  static constant(name: string, tensor: Tensor): Value {
    const value = Value.typed(name, tensor.dtype, tensor.dims)
    value.tensor = tensor
    return value
  }

  /** The element type; fails when it is not known. */
  get dtype(): DType {
    invariant(this.type?.kind === 'tensor', `value ${this.name} has no tensor type`)
    return this.type.dtype
  }

  /** The static shape; fails when it is not fully known (it is, once shapes were observed). */
  get shape(): Shape {
    const shape = this.staticShape
    invariant(shape, `value ${this.name} has no static shape`)
    return shape
  }

  /** The static shape, or null. */
  get staticShape(): Shape | null {
    if (this.type?.kind !== 'tensor') return null
    const { shape } = this.type
    return shape?.every(dim => typeof dim === 'number') ? shape : null
  }

  get rank(): number {
    return this.shape.length
  }

  /** `%"x"<float32,[2,3]>`, the form used in messages. */
  toString(): string {
    const type = this.type
    if (type === null) return `%"${this.name}"`
    if (type.kind === 'opaque') return `%"${this.name}"<${type.description}>`
    return `%"${this.name}"<${type.dtype},${type.shape ? formatShape(type.shape) : '?'}>`
  }
}
