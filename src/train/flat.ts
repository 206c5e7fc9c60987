/**
 * Flat state: many tensors as one contiguous float32 vector. Everything that treats weights as a point in R^P
 * (optimizer, averages, distances) works on this vector; segments say which element belongs to which tensor.
 */

import { sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, invariant } from '../util/errors.ts'

export interface Segment {
  readonly name: string
  readonly shape: Shape
  /** First element in the vector. */
  readonly offset: number
  readonly size: number
}

export class FlatLayout {
  readonly segments: readonly Segment[]
  /** Elements of the whole vector. */
  readonly length: number

  constructor(tensors: readonly { readonly name: string; readonly shape: Shape }[]) {
    let offset = 0
    this.segments = tensors.map(({ name, shape }) => {
      const size = sizeOf(shape)
      const segment = { name, shape, offset, size }
      offset += size
      return segment
    })
    this.length = offset
  }

  /** Copies float32 tensors into a new vector. */
  async pack(read: (name: string) => Tensor | undefined): Promise<Float32Array> {
    const vector = new Float32Array(this.length)
    for (const { name, offset, size } of this.segments) {
      const tensor = await read(name)?.load()
      if (!tensor) throw new InputError(`state: tensor ${name} is missing`)
      if (tensor.dtype !== 'float32' || tensor.size !== size) {
        throw new InputError(
          `state: tensor ${name} should hold ${size} float32 values, found ${tensor.size} ${tensor.dtype}`,
        )
      }
      vector.set(tensor.view() as Float32Array, offset)
    }
    return vector
  }

  /** The tensors of a vector, as views (not copies). */
  unpack(vector: Float32Array): Map<string, Tensor> {
    invariant(
      vector.length === this.length,
      `a flat vector of ${vector.length} for a layout of ${this.length}`,
    )
    return new Map(
      this.segments.map(({ name, shape, offset, size }) => [
        name,
        Tensor.of('float32', shape, vector.subarray(offset, offset + size)),
      ]),
    )
  }
}
