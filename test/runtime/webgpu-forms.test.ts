/** Operators that WebGPU lacks, and what stands for them. */

import { test } from 'uvu'
import { float } from '../../src/ir/attribute.ts'
import type { Attributes } from '../../src/ir/builder.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { assertClose } from '../support/close.ts'
import {
  checkForm,
  floats,
  node,
  replaced,
  truth,
  valuesOf,
  vector,
  type FormCase,
} from '../support/form-case.ts'

const check = (each: FormCase) => test(each.title, () => checkForm(each))

const EXTREMES = vector([
  -3e38, -1e5, -88, -20, -1, -0.5, -1e-4, -1e-30, 0, 1e-30, 1e-4, 0.5, 1, 20, 88, 1e5, 3e38,
])
const HALVES = vector([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -0.49999997, 8388609, 1e30, -7.3])

// Element-wise.
check({ title: 'Sum', inputs: [floats(2, 3), floats(3), floats(2, 1)], write: node('Sum', [2, 3]) })
check({ title: 'Sum of one', inputs: [floats(3)], write: node('Sum', [3]) })
check({ title: 'Mean', inputs: [floats(2, 3), floats(3), floats(2, 1)], write: node('Mean', [2, 3]) })
check({ title: 'Sign', inputs: [EXTREMES], write: node('Sign', EXTREMES.dims) })
check({ title: 'Round', inputs: [HALVES], write: node('Round', HALVES.dims) })
check({ title: 'Or', inputs: [truth(4, 5), truth(5)], write: node('Or', [4, 5]) })
check({ title: 'Xor', inputs: [truth(4, 5), truth(5)], write: node('Xor', [4, 5]) })
check({ title: 'Equal of truth values', inputs: [truth(4, 5), truth(4, 1)], write: node('Equal', [4, 5]) })
check({ title: 'Selu', inputs: [EXTREMES], write: node('Selu', EXTREMES.dims), absolute: 3e-7 })
check({
  title: 'Selu {alpha gamma}',
  inputs: [floats(9)],
  write: node('Selu', [9], { alpha: float(0.7), gamma: float(2.5) }),
  absolute: 3e-7,
})
check({ title: 'Celu', inputs: [EXTREMES], write: node('Celu', EXTREMES.dims), absolute: 3e-7 })
check({
  title: 'Celu {alpha}',
  inputs: [floats(9)],
  write: node('Celu', [9], { alpha: float(0.3) }),
  absolute: 3e-7,
})
check({ title: 'Softsign', inputs: [EXTREMES], write: node('Softsign', EXTREMES.dims) })
check({
  title: 'CastLike',
  inputs: [vector([0, 3, -4], 'int32'), floats(2)],
  write: node('CastLike', [3], {}, 'float32'),
})

// Normalizing.
for (const axis of [0, 1, -1]) {
  check({
    title: `LogSoftmax {axis=${axis}}`,
    inputs: [Tensor.of('float32', [3, 4], [...EXTREMES.toNumbers().slice(1, 12), 90])],
    write: node('LogSoftmax', [3, 4], { axis }),
    absolute: 1e-6,
  })
}
for (const [title, axes, attributes, shape] of [
  ['one axis', [1], { keepdims: 1 }, [3, 1, 4]],
  ['two axes, dropped', [0, -1], { keepdims: 0 }, [5]],
  ['no axes: all', [], { keepdims: 0 }, []],
  ['no axes: none', [], { noop_with_empty_axes: 1 }, [3, 5, 4]],
] as const) {
  check({
    title: `ReduceLogSumExp, ${title}`,
    inputs: [floats(3, 5, 4)],
    write: (op, [x]) => op.one('ReduceLogSumExp', [x!, op.int64s(axes)], { shape }, attributes),
    absolute: 1e-6,
  })
}
test('ReduceLogSumExp of large and of infinite elements', async () => {
  // Not beside the CPU provider, for which one -∞ makes the whole sum -∞.
  const each: FormCase = {
    title: '',
    inputs: [Tensor.of('float32', [3, 2], [300, 299, -Infinity, -Infinity, -Infinity, -500])],
    write: (op, [x]) => op.one('ReduceLogSumExp', [x!, op.int64s([1])], { shape: [3, 1] }),
  }
  const graph = replaced(each)
  const expected = [300 + Math.log1p(Math.exp(-1)), -Infinity, -500]
  assertClose(await valuesOf(graph, each), expected, { relative: 1e-6 }, 'log of sums')
})
check({
  title: 'LayerNormalization whose scale and bias broadcast',
  inputs: [floats(2, 3, 4), floats(4), floats(3, 1)],
  write: node('LayerNormalization', [2, 3, 4], { axis: 1, epsilon: float(1e-3) }),
  absolute: 2e-6,
})
for (const epsilon of [0.1, 1e-3, 1e-7]) {
  check({
    title: `InstanceNormalization {epsilon=${epsilon}}`,
    inputs: [
      Tensor.of(
        'float32',
        [2, 3, 4],
        floats(24)
          .toNumbers()
          .map(x => x / 100),
      ),
      floats(3),
      floats(3),
    ],
    write: node('InstanceNormalization', [2, 3, 4], { epsilon: float(epsilon) }),
    absolute: 2e-6,
  })
}
for (const [units, opset] of [
  [6, 21],
  [3, 18],
] as const) {
  check({
    title: `GroupNormalization with ${units} scales`,
    inputs: [floats(2, 6, 3, 5), floats(units), floats(units)],
    write: node('GroupNormalization', [2, 6, 3, 5], { num_groups: 3, epsilon: float(1e-3) }),
    absolute: 2e-6,
    opset,
  })
}

// Positions and sources.
for (const axis of [-1, 0, 1]) {
  check({
    title: `OneHot {axis=${axis}}`,
    inputs: [vector([0, 2, -1, 3, 7, -5, -4], 'int64'), vector([-1, 5])],
    write: (op, [indices, values]) => {
      const shape = axis === 0 ? [4, 7] : [7, 4]
      return op.one('OneHot', [indices!, op.int64s([4]), values!], { shape, dtype: 'float32' }, { axis })
    },
  })
}
for (const value of [undefined, 2.5]) {
  check({
    title: `ConstantOfShape ${value ?? ''}`,
    inputs: [floats(1)],
    write: (op, [x]) => {
      const attributes: Attributes =
        value === undefined ? {} : { value: { kind: 'tensor', value: Tensor.of('float32', [1], [value]) } }
      return op.Mul(
        op.one('ConstantOfShape', [op.int64s([2, 3])], { shape: [2, 3], dtype: 'float32' }, attributes),
        x!,
      )
    },
  })
}
for (const k of [-1, 0, 2]) {
  check({ title: `EyeLike {k=${k}}`, inputs: [floats(3, 4)], write: node('EyeLike', [3, 4], { k }) })
}
for (const [axis, keepdims] of [
  [1, 0],
  [0, 1],
  [-1, 1],
] as const) {
  check({
    title: `ArgMax {axis=${axis} keepdims=${keepdims}} in int32`,
    inputs: [Tensor.of('float32', [2, 3, 2], [1, 5, 1, 5, 0, 2, -1, -2, -1, 7, -3, 7])],
    write: (op, [x]) => {
      const shape = [2, 3, 2].flatMap((dim, i) => (i === (axis + 3) % 3 ? (keepdims ? [1] : []) : [dim]))
      return op.Cast(op.one('ArgMax', [x!], { shape, dtype: 'int64' }, { axis, keepdims }), 'int32')
    },
  })
}
check({
  title: 'SpaceToDepth',
  inputs: [floats(2, 3, 4, 6)],
  write: node('SpaceToDepth', [2, 12, 2, 3], { blocksize: 2 }),
})

// Sine and cosine.
const ANGLES = vector([
  ...EXTREMES.toNumbers().filter(x => Math.abs(x) < 100),
  Math.PI,
  -Math.PI / 2,
  4,
  7,
  -9.5,
  1000.25,
])
check({ title: 'Sin', inputs: [ANGLES], write: node('Sin', ANGLES.dims), absolute: 4e-7 })
check({ title: 'Cos', inputs: [ANGLES], write: node('Cos', ANGLES.dims), absolute: 4e-7 })

test.run()
