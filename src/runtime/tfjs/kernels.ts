/**
 * tfjs kernels as writers use them: on slots, in the order of memory, and (further down) on values in any layout. What a
 * kernel would not change (a reshape to the same shape, a pad by nothing) makes no call.
 */

import type { DType } from '../../tensor/dtype.ts'
import { broadcastShapes, sameShape, sizeOf, type Shape } from '../../tensor/shape.ts'
import { invariant } from '../../util/errors.ts'
import { TF_DTYPES, type Backend, type TfArray, type TfDType } from './tf.ts'
import { Held } from './held.ts'
import { inMemory, isOnnx, onnxLayout, sameOrder, type Layout } from './layout.ts'
import type { KernelAttributes, Slot, SlotInputs, Tape } from './tape.ts'

/** What stands for minus infinity in padding: shaders cannot write the infinite one. */
export const LOWEST = -3.4028234663852886e38

/**
 * The rank up to which kernels work on every backend. Beyond it WebGL's shaders for PadV2, StridedSlice and Reverse cannot
 * be compiled, WebGPU has no Select, and WebGPU's binary operators broadcast wrongly.
 */
const MAX_RANK = 4

export class Kernels {
  readonly tape: Tape
  readonly backend: Backend
  readonly #scalars = new Map<string, Slot>()

  constructor(tape: Tape, backend: Backend) {
    this.tape = tape
    this.backend = backend
  }

  // On slots: one method for each kernel whose attributes need a word.

  call(kernel: string, inputs: SlotInputs, attributes?: KernelAttributes): Slot {
    return this.tape.call(kernel, inputs, attributes)[0]!
  }

  unary(kernel: string, x: Slot, attributes?: KernelAttributes): Slot {
    return this.call(kernel, { x }, attributes)
  }

  /** The operands broadcast against each other. */
  binary(kernel: string, a: Slot, b: Slot): Slot {
    if (Math.max(a.shape.length, b.shape.length) <= MAX_RANK) return this.call(kernel, { a, b })
    const shape = broadcastShapes([a.shape, b.shape], this.tape.label)
    const [flatA, flatB] = mergeAxes(a.shape, b.shape, shape)
    return this.reshape(this.call(kernel, { a: this.reshape(a, flatA), b: this.reshape(b, flatB) }), shape)
  }

  add(a: Slot, b: Slot): Slot {
    return this.binary('Add', a, b)
  }

  sub(a: Slot, b: Slot): Slot {
    return this.binary('Sub', a, b)
  }

  mul(a: Slot, b: Slot): Slot {
    return this.binary('Multiply', a, b)
  }

  div(a: Slot, b: Slot): Slot {
    return this.binary('RealDiv', a, b)
  }

  /** `x` times a number, without a call for one. */
  scale(x: Slot, factor: number): Slot {
    return factor === 1 ? x : this.mul(x, this.scalar(factor, x.dtype))
  }

  /** `x` plus a number. */
  shift(x: Slot, term: number): Slot {
    return term === 0 ? x : this.add(x, this.scalar(term, x.dtype))
  }

  scalar(value: number, dtype: TfDType = 'float32'): Slot {
    const key = `${dtype} ${Object.is(value, -0) ? '-0' : value}`
    const known = this.#scalars.get(key)
    if (known) return known
    const made = this.constant([value], [], dtype)
    this.#scalars.set(key, made)
    return made
  }

  constant(values: readonly number[], shape: Shape, dtype: TfDType): Slot {
    const arrays: Record<TfDType, () => TfArray> = {
      float32: () => Float32Array.from(values),
      int32: () => Int32Array.from(values),
      bool: () => Uint8Array.from(values),
    }
    return this.tape.constant(arrays[dtype](), shape, dtype)
  }

  /** A tensor of one number, made in each run: as a constant it would take memory for good. */
  fill(shape: Shape, value: number, dtype: TfDType): Slot {
    return this.tape.call('Fill', {}, { shape: [...shape], value, dtype }, true)[0]!
  }

  cast(x: Slot, dtype: TfDType): Slot {
    if (x.dtype === dtype) return x
    if (dtype === 'bool') return this.binary('NotEqual', x, this.scalar(0, x.dtype))
    return this.unary('Cast', x, { dtype })
  }

  reshape(x: Slot, shape: Shape): Slot {
    if (sameShape(x.shape, shape)) return x
    const slot = this.unary('Reshape', x, { shape: [...shape] })
    slot.host = x.host
    return slot
  }

  transpose(x: Slot, perm: readonly number[]): Slot {
    return isOnnx(perm) ? x : this.unary('Transpose', x, { perm: [...perm] })
  }

  /** Sum, Max, Min, Prod, All or Any over axes. */
  reduce(kernel: string, x: Slot, axes: readonly number[], keepDims = true): Slot {
    if (axes.length === 0) return x
    const axis = [...axes].sort((a, b) => a - b)
    return this.unary(kernel, x, kernel === 'Max' ? { reductionIndices: axis, keepDims } : { axis, keepDims })
  }

  sum(x: Slot, axes: readonly number[], keepDims = true): Slot {
    return this.reduce('Sum', x, axes, keepDims)
  }

  /** Sum and one multiplication: the kernel Mean of some backends divides every element first. */
  mean(x: Slot, axes: readonly number[], keepDims = true): Slot {
    return this.scale(this.sum(x, axes, keepDims), 1 / sizeOf(axes.map(axis => x.shape[axis]!)))
  }

  pad(x: Slot, paddings: readonly (readonly [number, number])[], value = 0): Slot {
    if (paddings.every(([begin, end]) => begin === 0 && end === 0)) return x
    if (x.shape.length > MAX_RANK) {
      return this.#axisByAxis(x, (flat, axis) => this.pad(flat, [[0, 0], paddings[axis]!, [0, 0]], value))
    }
    return this.unary('PadV2', x, { paddings: paddings.map(pair => [...pair]), constantValue: value })
  }

  slice(x: Slot, begin: readonly number[], size: readonly number[]): Slot {
    return sameShape(x.shape, size) ? x : this.unary('Slice', x, { begin: [...begin], size: [...size] })
  }

  /** Elements `begin, begin + stride, ...` before `end` of each axis; strides are positive. */
  stridedSlice(x: Slot, begin: number[], end: number[], strides: number[]): Slot {
    if (strides.every(stride => stride === 1)) {
      return this.slice(
        x,
        begin,
        end.map((stop, i) => stop - begin[i]!),
      )
    }
    if (x.shape.length > MAX_RANK) {
      return this.#axisByAxis(x, (flat, axis) => {
        const [outer, , inner] = flat.shape as [number, number, number]
        return this.stridedSlice(
          flat,
          [0, begin[axis]!, 0],
          [outer, end[axis]!, inner],
          [1, strides[axis]!, 1],
        )
      })
    }
    const masks = { beginMask: 0, endMask: 0, ellipsisMask: 0, newAxisMask: 0, shrinkAxisMask: 0 }
    return this.unary('StridedSlice', x, { begin, end, strides, ...masks })
  }

  concat(parts: readonly Slot[], axis: number): Slot {
    return parts.length === 1 ? parts[0]! : this.call('Concat', parts, { axis })
  }

  split(x: Slot, sizes: readonly number[], axis: number): Slot[] {
    return sizes.length === 1 ? [x] : this.tape.call('SplitV', { x }, { numOrSizeSplits: [...sizes], axis })
  }

  /** x in the opposite order along an axis. */
  reverse(x: Slot, axis: number): Slot {
    const flat = this.reshape(x, around(x.shape, axis))
    return this.reshape(this.unary('Reverse', flat, { dims: [1] }), x.shape)
  }

  /** `x` repeated to a shape that it broadcasts to. */
  broadcast(x: Slot, shape: Shape): Slot {
    if (sameShape(x.shape, shape)) return x
    if (x.constant && sizeOf(x.shape) === 1 && x.host) return this.fill(shape, x.host[0]!, x.dtype)
    const padded = this.reshape(x, [...new Array<number>(shape.length - x.shape.length).fill(1), ...x.shape])
    const reps = shape.map((dim, i) => (padded.shape[i] === dim ? 1 : dim))
    return reps.every(rep => rep === 1) ? padded : this.unary('Tile', padded, { reps })
  }

  /** `condition ? t : e`, all broadcast to one shape: the kernel does not broadcast. */
  select(condition: Slot, t: Slot, e: Slot): Slot {
    const shape = broadcastShapes([condition.shape, t.shape, e.shape], this.tape.label)
    const whole = (x: Slot) => {
      const slot = this.broadcast(x, shape)
      return shape.length > MAX_RANK ? this.reshape(slot, [sizeOf(shape)]) : slot
    }
    const found = this.call('Select', { condition: whole(condition), t: whole(t), e: whole(e) })
    return this.reshape(found, shape)
  }

  /** a [..., m, k] times b [..., k, n], leading axes broadcast. */
  matmul(a: Slot, b: Slot, transposeA = false, transposeB = false): Slot {
    return this.call('BatchMatMul', { a, b }, { transposeA, transposeB })
  }

  // On values.

  /** A value whose only form so far is `slot`. */
  hold(slot: Slot, dtype: DType, layout: Layout = onnxLayout(slot.shape.length)): Held {
    invariant(
      TF_DTYPES[dtype] === slot.dtype,
      `${this.tape.label}: a kernel gave ${slot.dtype} for a value of type ${dtype}`,
    )
    return new Held(slot, layout, dtype)
  }

  /** The value in a layout: kept with it, so that the next reader finds it. */
  in(value: Held, layout: Layout): Slot {
    const known = value.in(layout)
    if (known) return known
    const shape = inMemory(value.shape, layout)
    let found: Slot | undefined
    for (const form of value.forms()) {
      if (sameOrder(value.shape, form.layout, layout)) found = this.reshape(form.slot, shape)
    }
    const { home } = value
    found ??= this.transpose(
      value.slot,
      layout.map(axis => home.indexOf(axis)),
    )
    value.add(found, layout)
    return found
  }

  /** The value in ONNX's order of axes. */
  onnx(value: Held): Slot {
    return this.in(value, onnxLayout(value.rank))
  }

  /**
   * Operands in one layout, ready to be broadcast against each other: the home of the largest operand of full rank, or of
   * one as large that is not in ONNX's order (one transposition is cheaper than two).
   */
  align(operands: readonly Held[]): { slots: Slot[]; layout: Layout } {
    const rank = Math.max(...operands.map(value => value.rank))
    const full = operands.filter(value => value.rank === rank)
    const largest = Math.max(...full.map(value => value.size))
    const candidates = full.filter(value => value.size === largest)
    const layout = (candidates.find(value => !isOnnx(value.home)) ?? candidates[0]!).home
    return { slots: operands.map(value => this.ofRank(value, rank, layout)), layout }
  }

  /** Changes every axis in its turn, as the middle one of three. */
  #axisByAxis(x: Slot, change: (flat: Slot, axis: number) => Slot): Slot {
    return x.shape.reduce((slot, _, axis) => {
      const changed = change(this.reshape(slot, around(slot.shape, axis)), axis)
      return this.reshape(changed, slot.shape.with(axis, changed.shape[1]!))
    }, x)
  }

  /** The value with ones before its shape, in a layout of that rank. */
  ofRank(value: Held, rank: number, layout: Layout): Slot {
    if (value.rank === rank) return this.in(value, layout)
    const slot = this.onnx(value)
    if (value.size === 1 || isOnnx(layout)) return slot
    const padded = [...new Array<number>(rank - value.rank).fill(1), ...value.shape]
    return this.in(new Held(this.reshape(slot, padded), onnxLayout(rank), value.dtype), layout)
  }
}

/** A shape as the axes before one, this axis, and those after it. */
export function around(shape: Shape, axis: number): [number, number, number] {
  return [sizeOf(shape.slice(0, axis)), shape[axis]!, sizeOf(shape.slice(axis + 1))]
}

/** Two shapes that broadcast to `shape`, with neighbouring axes as one where both operands have them whole, or lack them. */
function mergeAxes(a: Shape, b: Shape, shape: Shape): [number[], number[]] {
  const whole = (operand: Shape, axis: number) =>
    (operand[axis - shape.length + operand.length] ?? 1) === shape[axis]
  const merged: { dim: number; a: boolean; b: boolean }[] = []
  shape.forEach((dim, axis) => {
    // An axis of length one goes with any neighbour.
    if (dim === 1) return
    const next = { dim, a: whole(a, axis), b: whole(b, axis) }
    const last = merged.at(-1)
    if (last && last.a === next.a && last.b === next.b) last.dim *= dim
    else merged.push(next)
  })
  return [merged.map(axis => (axis.a ? axis.dim : 1)), merged.map(axis => (axis.b ? axis.dim : 1))]
}
