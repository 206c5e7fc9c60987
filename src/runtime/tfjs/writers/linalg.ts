/** Matrix products. */

import { broadcastShapes, sizeOf } from '../../../tensor/shape.ts'
import type { Held } from '../held.ts'
import type { Kernels } from '../kernels.ts'
import { onnxLayout } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterTable } from '../writer.ts'

interface Matrices {
  readonly slot: Slot
  /** The last two axes lie the other way round. */
  readonly transposed: boolean
}

/** A value of rank 2 or more as matrices; one that lies transposed is taken as it lies. */
function matrices(k: Kernels, value: Held): Matrices {
  const order = onnxLayout(value.rank)
  const swapped = [...order.slice(0, -2), order.at(-1)!, order.at(-2)!]
  const there = value.in(order) ? undefined : value.in(swapped)
  return there ? { slot: there, transposed: true } : { slot: k.onnx(value), transposed: false }
}

/** [m, k] as [1, m, k]: the kernel of some backends takes stacks only. */
function stack(k: Kernels, { slot, transposed }: Matrices): Matrices {
  return { slot: k.reshape(slot, [1, ...slot.shape]), transposed }
}

/** A vector is a matrix of one row (A) or one column (B). */
const MatMul = writer(context => {
  const { k } = context
  const [a, b] = [context.input(0), context.input(1)]
  const left = a.rank === 1 ? { slot: k.reshape(k.onnx(a), [1, a.size]), transposed: false } : matrices(k, a)
  const right = b.rank === 1 ? { slot: k.reshape(k.onnx(b), [b.size, 1]), transposed: false } : matrices(k, b)
  const shape = [...(a.rank === 1 ? [] : a.shape.slice(0, -1)), ...(b.rank === 1 ? [] : b.shape.slice(-1))]
  if (b.rank <= 2) {
    // One matrix B: the leading axes of A are rows.
    const depth = a.shape.at(-1)!
    const flat =
      a.rank <= 2 ? left : { slot: k.reshape(k.onnx(a), [sizeOf(a.shape) / depth, depth]), transposed: false }
    const [x, w] = [stack(k, flat), stack(k, right)]
    return context.give(k.reshape(k.matmul(x.slot, w.slot, x.transposed, w.transposed), shape))
  }
  const batch = b.shape.slice(0, -2)
  const product = (x: Matrices, w: Matrices) => k.matmul(x.slot, w.slot, x.transposed, w.transposed)
  // The kernel of the JavaScript backend does not broadcast the leading axes rightly (its result is too short).
  const lead = broadcastShapes([a.shape.slice(0, -2), batch], context.node.label)
  const spread = ({ slot, transposed }: Matrices) => ({
    slot: k.reshape(k.broadcast(slot, [...lead, ...slot.shape.slice(-2)]), [
      sizeOf(lead),
      ...slot.shape.slice(-2),
    ]),
    transposed,
  })
  const rows = a.rank === 1 ? [] : [a.shape.at(-2)!]
  return context.give(k.reshape(product(spread(left), spread(right)), [...lead, ...rows, b.shape.at(-1)!]))
})

/** alpha · A' B' + beta · C. */
const Gemm = writer(context => {
  const { k, node } = context
  const [a, b] = [matrices(k, context.input(0)), matrices(k, context.input(1))]
  const [x, w] = [stack(k, a), stack(k, b)]
  const transA = (node.int('transA', 0) !== 0) !== x.transposed
  const transB = (node.int('transB', 0) !== 0) !== w.transposed
  const product = k.matmul(x.slot, w.slot, transA, transB)
  const scaled = k.scale(k.reshape(product, product.shape.slice(1)), node.float('alpha', 1))
  const c = context.inputs[2]
  return context.give(c ? k.add(scaled, k.scale(k.onnx(c), node.float('beta', 1))) : scaled)
})

export const linalgWriters: WriterTable = { MatMul, Gemm }
