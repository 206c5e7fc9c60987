/** int64 labels and positions become int32 for WebGPU; what must stay int64 stays. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { printGraph } from '../../src/ir/print.ts'
import { narrowIntegers } from '../../src/runtime/ort-webgpu/narrow.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { floats, graphOf, valuesOf, vector, type FormCase } from '../support/form-case.ts'

/** A narrowed graph's text, and its values against those before. */
async function narrowed(each: FormCase): Promise<string> {
  const expected = await valuesOf(graphOf(each), each)
  const graph = graphOf(each)
  narrowIntegers(graph)
  assert.equal(await valuesOf(graph, each), expected)
  return printGraph(graph)
}

test('labels become int32 where they come in', async () => {
  const text = await narrowed({
    title: '',
    inputs: [vector([2, 0, -100], 'int64')],
    write: (op, [labels]) => {
      const known = op.constant(Tensor.of('int64', [1, 3], [0n, 1n, 2n]))
      return op.Cast(op.Equal(op.Reshape(labels!, [3, 1]), known), 'float32')
    },
  })
  assert.snapshot(
    text,
    `graph form (x0<int64,[3]>)
  weight const_1<int64,[2]>
  weight const_0_1<int32,[1,3]>
  Equal_1/Cast_0<int32,[3]> = Cast {to=6} (x0)
  Equal_1/Reshape_1<int32,[3,1]> = Reshape (Equal_1/Cast_0, const_1)
  Equal_1<bool,[3,3]> = Equal (Equal_1/Reshape_1, const_0_1)
  y<float32,[3,3]> = Cast {to=1} (Equal_1)
  return y<float32,[3,3]>`,
  )
})

test('computed indices become int32, given ones stay', async () => {
  const rows = floats(4, 2)
  const given = await narrowed({
    title: '',
    inputs: [rows, vector([3, 0, -1], 'int64')],
    write: (op, [x, at]) => op.Gather(x!, at!, 0),
  })
  assert.not.match(given, 'int32')
  const computed = await narrowed({
    title: '',
    inputs: [rows, vector([3, 0, -1], 'int64')],
    write: (op, [x, at]) =>
      op.ScatterElements(
        x!,
        op.Expand(op.Reshape(at!, [3, 1]), [3, 2]),
        op.floats([3, 2], [1, 2, 3, 4, 5, 6]),
        0,
        'add',
      ),
  })
  assert.match(computed, /Expand_\d+<int32,\[3,2\]>/)
})

test('shapes and what an int32 does not hold stay int64', async () => {
  const shaped = await narrowed({
    title: '',
    inputs: [floats(2, 3), vector([3, 2], 'int64')],
    write: (op, [x, shape]) => op.one('Reshape', [x!, op.Add(shape!, op.int64s([0, 0]))], { shape: [3, 2] }),
  })
  assert.not.match(shaped, 'int32')
  const large = await narrowed({
    title: '',
    inputs: [vector([3, 2], 'int64')],
    write: (op, [x]) => op.Cast(op.Less(x!, op.constant(Tensor.of('int64', [1], [2n ** 40n]))), 'float32'),
  })
  assert.not.match(large, 'int32')
})

test.run()
