/** Element-wise arithmetic, comparison and logic, in whatever layout the operands lie. */

import { DTYPES } from '../../../tensor/dtype.ts'
import type { DType } from '../../../tensor/dtype.ts'
import { UnsupportedError } from '../../../util/errors.ts'
import type { Held } from '../held.ts'
import type { Kernels } from '../kernels.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterRow, type WriterTable } from '../writer.ts'

/** y = f(x), element by element. */
export function map(write: (k: Kernels, x: Slot, context: WriterContext) => Slot, dtype?: DType): WriterRow {
  return writer(context => {
    const x = context.input(0)
    const y = write(context.k, x.slot, context)
    return context.give(y, { layout: x.home, dtype: dtype ?? x.dtype })
  })
}

const kernel = (name: string, dtype?: DType) => map((k, x) => k.unary(name, x), dtype)

/** Operands aligned, combined, and given back in their common layout. */
export function combine(
  context: WriterContext,
  operands: readonly Held[],
  write: (...slots: Slot[]) => Slot,
  dtype?: DType,
): Held {
  const { slots, layout } = context.k.align(operands)
  return context.give(write(...slots), { layout, dtype: dtype ?? operands[0]!.dtype })
}

function pair(write: (k: Kernels, a: Slot, b: Slot) => Slot, dtype?: DType): WriterRow {
  return writer(context =>
    combine(context, [context.input(0), context.input(1)], (a, b) => write(context.k, a, b), dtype),
  )
}

const binary = (name: string, dtype?: DType) => pair((k, a, b) => k.binary(name, a, b), dtype)

/** Integers are divided towards zero: the kernel rounds down, which is one less where signs differ and a rest remains. */
function divide(k: Kernels, a: Slot, b: Slot): Slot {
  if (a.dtype === 'float32') return k.div(a, b)
  const down = k.binary('FloorDiv', a, b)
  const zero = k.scalar(0, 'int32')
  const rest = k.binary('NotEqual', k.sub(a, k.mul(down, b)), zero)
  const signs = k.binary(
    'NotEqual',
    k.cast(k.binary('Less', a, zero), 'int32'),
    k.cast(k.binary('Less', b, zero), 'int32'),
  )
  return k.add(down, k.cast(k.binary('LogicalAnd', rest, signs), 'int32'))
}

/** Numbers that kernels of their own compute better than Pow does. */
const POWERS: ReadonlyMap<number, (k: Kernels, x: Slot) => Slot> = new Map([
  [1, (_: Kernels, x: Slot) => x],
  [2, (k: Kernels, x: Slot) => k.unary('Square', x)],
  [0.5, (k: Kernels, x: Slot) => k.unary('Sqrt', x)],
  [-1, (k: Kernels, x: Slot) => k.unary('Reciprocal', x)],
])

const Pow = writer(context => {
  const { k } = context
  const x = context.input(0)
  const exponent = context.known(1)
  const special = exponent?.length === 1 && x.dtype === 'float32' ? POWERS.get(exponent[0]!) : undefined
  if (special && context.input(1).rank <= x.rank) {
    return exponent![0] === 1 ? x.alias() : context.give(special(k, x.slot), { layout: x.home })
  }
  return combine(context, [x, context.input(1)], (a, b) => k.binary('Pow', a, k.cast(b, a.dtype)))
}, 1)

/** The remainder has the sign of the divisor, with fmod that of the dividend. */
const Mod = writer(context => {
  const { k, node } = context
  return combine(context, [context.input(0), context.input(1)], (a, b) => {
    if (node.int('fmod', 0) === 0) return k.binary('Mod', a, b)
    return k.mul(k.unary('Sign', a), k.binary('Mod', k.unary('Abs', a), k.unary('Abs', b)))
  })
})

/** Any number of operands, two at a time. */
function fold(
  name: string,
  finish: (k: Kernels, sum: Slot, count: number) => Slot = (_, sum) => sum,
): WriterRow {
  return writer(context => {
    const operands = context.inputs.map((_, i) => context.input(i))
    if (operands.length === 1) return operands[0]!.alias()
    return combine(context, operands, (...slots) => {
      const folded = slots.reduce((a, b) => context.k.binary(name, a, b))
      return finish(context.k, folded, slots.length)
    })
  })
}

const Where = writer(context => {
  const operands = [context.input(0), context.input(1), context.input(2)]
  return combine(context, operands, (c, t, e) => context.k.select(c, t, e), operands[1]!.dtype)
})

/** Floats become integers by truncation; integers narrower than int32 are not wrapped around. */
function castTo(context: WriterContext, dtype: DType): Held {
  const { k } = context
  const x = context.input(0)
  const info = DTYPES[dtype]
  if (dtype === x.dtype) return x.alias()
  if (info.float && dtype !== 'float32') {
    throw new UnsupportedError(`${context.node.label}: tfjs computes in float32, found a cast to ${dtype}`, {
      cure: 'convert the model to float32, or use --engine cpu',
    })
  }
  const target = dtype === 'float32' ? 'float32' : dtype === 'bool' ? 'bool' : 'int32'
  return x.slot.dtype === target
    ? x.alias(dtype)
    : context.give(k.cast(x.slot, target), { dtype, layout: x.home })
}

const Cast = writer(context => {
  const code = context.node.int('to', 0)
  const [dtype] = Object.entries(DTYPES).find(([, { onnx }]) => onnx === code) ?? []
  if (!dtype) throw new UnsupportedError(`${context.node.label}: unknown element type ${code}`)
  return castTo(context, dtype as DType)
})

const Identity = writer(context => context.input(0).alias())

export const elementwiseWriters: WriterTable = {
  ...Object.fromEntries(
    [
      'Abs',
      'Acos',
      'Acosh',
      'Asin',
      'Asinh',
      'Atan',
      'Atanh',
      'Ceil',
      'Cos',
      'Cosh',
      'Erf',
      'Exp',
      'Floor',
      'Log',
    ]
      .concat([
        'Neg',
        'Reciprocal',
        'Relu',
        'Round',
        'Sigmoid',
        'Sign',
        'Sin',
        'Sinh',
        'Softplus',
        'Sqrt',
        'Tan',
      ])
      .concat(['Tanh'])
      .map(name => [name, kernel(name)]),
  ),
  Not: kernel('LogicalNot', 'bool'),
  IsNaN: kernel('IsNan', 'bool'),
  IsInf: kernel('IsInf', 'bool'),
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Multiply'),
  Div: pair(divide),
  Pow,
  Mod,
  Equal: binary('Equal', 'bool'),
  Greater: binary('Greater', 'bool'),
  GreaterOrEqual: binary('GreaterEqual', 'bool'),
  Less: binary('Less', 'bool'),
  LessOrEqual: binary('LessEqual', 'bool'),
  And: binary('LogicalAnd', 'bool'),
  Or: binary('LogicalOr', 'bool'),
  Xor: pair((k, a, b) => k.binary('NotEqual', k.cast(a, 'int32'), k.cast(b, 'int32')), 'bool'),
  Max: fold('Maximum'),
  Min: fold('Minimum'),
  Sum: fold('Add'),
  Mean: fold('Add', (k, sum, count) => k.scale(sum, 1 / count)),
  Where,
  Cast,
  CastLike: writer(context => castTo(context, context.input(1).dtype)),
  Identity,
  // In inference form; a training program multiplies by a mask instead.
  Dropout: Identity,
}
