/** The tfjs engine: shapes known at run time, layouts, limits told by name, its thread in Node. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import { chooseEngine } from '../../../src/runtime/choose-engine.ts'
import { ENGINES } from '../../../src/runtime/engines.ts'
import { tfjsEngineOf } from '../../../src/runtime/tfjs/engine.ts'
import type { TfModule } from '../../../src/runtime/tfjs/tf.ts'
import { serializeModel } from '../../../src/serde/index.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { assertClose } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { runModel } from '../../support/ort.ts'
import { engine, tensorCount, tf } from '../../support/tfjs.ts'

type Dims = readonly (number | string)[]

/** A model of one float input. */
function modelOf(
  dims: Dims,
  write: (op: Builder, x: Value) => Value | Value[],
  dtype: 'float32' | 'float16' | 'int64' = 'float32',
): Model {
  const op = new Builder(['x'])
  const graph = new Graph('test')
  const x = Value.typed('x', dtype, dims)
  graph.inputs = [x]
  graph.outputs = [write(op, x)].flat()
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return new Model(graph, 8, new Map([['', 18]]))
}

const numbers = (...dims: number[]) =>
  Tensor.of(
    'float32',
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
  )

/** conv 3x3 -> Relu -> conv 3x3 stride 2 -> max pool, then a linear layer on what is left. */
function smallNet(): Model {
  return modelOf(['batch', 2, 8, 8], (op, x) => {
    const conv = (input: Value, c: number, m: number, stride: number) =>
      op.one(
        'Conv',
        [input, op.constant(numbers(m, c, 3, 3))],
        { shape: [0] },
        { pads: [1, 1, 1, 1], strides: [stride, stride] },
      )
    const features = conv(op.Relu(conv(x, 2, 4, 1)), 4, 4, 2)
    const pooled = op.one('MaxPool', [features], { shape: [0] }, { kernel_shape: [2, 2], strides: [2, 2] })
    // Reshape to [batch, -1], the batch read from the data as exporters write it.
    const shape = op.one('Shape', [x], { shape: [4], dtype: 'int64' })
    const batch = op.one('Slice', [shape, op.int64s([0]), op.int64s([1])], { shape: [1], dtype: 'int64' })
    const wanted = op.one('Concat', [batch, op.int64s([-1])], { shape: [2], dtype: 'int64' }, { axis: 0 })
    const flat = op.one('Reshape', [pooled, wanted], { shape: [0] })
    return op.one('MatMul', [flat, op.constant(numbers(16, 3))], { shape: [0] })
  })
}

test('one model, several batch sizes: the results of onnxruntime', async () => {
  const bytes = await serializeModel(smallNet())
  const before = tensorCount()
  const runner = await engine.openRunner(bytes)
  assert.equal(runner.inputs, [{ name: 'x', dtype: 'float32', shape: ['batch', 2, 8, 8] }])
  for (const batch of [1, 3, 1, 2, 4, 5, 6, 3]) {
    const x = numbers(batch, 2, 8, 8)
    const [found] = (await runner.run(new Map([['x', x]]))).values()
    const [expected] = Object.values(await runModel(smallNet(), { x }))
    assert.equal([...found!.dims], [batch, 3])
    assertClose(found!.toNumbers(), expected!.toNumbers(), { absolute: 1e-5 }, `batch ${batch}`)
  }
  await runner.close()
  assert.is(tensorCount(), before, 'tensors that were not freed')
})

test('images are transposed on their way in and out only', async () => {
  const calls: string[] = []
  const real = tf.engine()
  const spy: TfModule = {
    ...tf,
    engine: () => ({
      runKernel(name, inputs, attributes) {
        calls.push(name)
        return real.runKernel(name, inputs, attributes)
      },
    }),
  }
  const runner = await (await tfjsEngineOf(spy)).openRunner(await serializeModel(smallNet()))
  const feeds = new Map([['x', numbers(2, 2, 8, 8)]])
  await runner.run(feeds)
  // The recording also made the filters' layouts and computed shapes; a further run repeats none of that.
  calls.length = 0
  await runner.run(feeds)
  assert.equal(calls, [
    ...['Transpose', 'Conv2D', 'Relu', 'PadV2', 'Conv2D', 'MaxPool'],
    ...['Transpose', 'Reshape', 'Reshape', 'BatchMatMul', 'Reshape'],
  ])
  await runner.close()
})

test('some outputs only; an input, a constant and one value twice are outputs of their own', async () => {
  const model = modelOf([2], (op, x) => {
    const y = op.Add(x, x)
    return [y, op.Identity(y), op.Identity(x), op.Identity(op.constant(Tensor.of('float32', [1], [7])))]
  })
  const [y, again, same, constant] = model.graph.outputs.map(({ name }) => name) as [
    string,
    string,
    string,
    string,
  ]
  const runner = await engine.openRunner(await serializeModel(model))
  const x = Tensor.of('float32', [2], [1, -2])
  for (let i = 0; i < 2; i++) {
    const all = await runner.run(new Map([['x', x]]))
    assert.equal(
      [y, again, same, constant].map(name => all.get(name)!.toNumbers()),
      [[2, -4], [2, -4], [1, -2], [7]],
    )
  }
  const some = await runner.run(new Map([['x', x]]), [same])
  assert.equal([...some.keys()], [same])
  await runner.close()
})

test('a model from a path', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-tfjs-'))
  try {
    const path = join(folder, 'model.onnx')
    writeFileSync(path, await serializeModel(smallNet()))
    const runner = await engine.openRunner(path)
    const [found] = (await runner.run(new Map([['x', numbers(1, 2, 8, 8)]]))).values()
    assert.equal([...found!.dims], [1, 3])
    await runner.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

const LIMITS: readonly [what: string, model: Model, x: Tensor, message: RegExp][] = [
  [
    'an element type',
    modelOf([2], (op, x) => op.Identity(x), 'float16'),
    Tensor.of('float16', [2], [1, 2]),
    /input x: tfjs computes in float32, int32 and bool, found float16/,
  ],
  [
    'an integer beyond int32',
    modelOf([1], (op, x) => op.Identity(x), 'int64'),
    Tensor.of('int64', [1], [2n ** 31n]),
    /input x: tfjs has int32 in place of int64, and 2147483648 does not fit/,
  ],
  [
    'an operator',
    modelOf([2], (op, x) => op.one('Hardmax', [x], { shape: [2] })),
    numbers(2),
    /Hardmax "Hardmax_0": the tfjs engine has no kernels for this operator/,
  ],
  [
    'a shape that depends on the data',
    modelOf([2], (op, x) => {
      const wanted = op.one('Cast', [x], { shape: [2], dtype: 'int64' }, { to: 7 })
      return op.one('Expand', [op.constant(numbers(1)), wanted], { shape: [0] })
    }),
    numbers(2),
    /Expand "Expand_1": input 1 \(Cast_0\) depends on the data/,
  ],
  [
    'a wrong shape',
    modelOf([2], (op, x) => op.Relu(x)),
    numbers(3),
    /tfjs: input x should be float32\[2\], found float32\[3\]/,
  ],
  [
    "a kernel's refusal",
    modelOf(['n'], (op, x) => op.one('Add', [x, op.constant(numbers(2))], { shape: [2] })),
    numbers(3),
    /Add "Add_0": tfjs kernel Add failed on float32\[3\], float32\[2\]/,
  ],
]

for (const [what, model, x, message] of LIMITS) {
  test(`${what} is refused by name, and nothing is left behind`, async () => {
    const before = tensorCount()
    const runner = await engine.openRunner(await serializeModel(model))
    assert.match((await errorOf(runner.run(new Map([['x', x]])))).message, message)
    await runner.close()
    assert.is(tensorCount(), before, 'tensors that were not freed')
  })
}

test('in Node tfjs has a thread: timers go on, errors keep their class, the session lives on', async () => {
  const entry = await ENGINES.tfjs()
  const report = await entry.probe({ device: 0 })
  assert.ok(report.works, report.found)
  const inThread = await entry.open({ device: 0 })
  const runner = await inThread.openRunner(
    await serializeModel(modelOf([300, 300], (op, x) => op.MatMul(op.MatMul(op.MatMul(x, x), x), x))),
  )
  let ticks = 0
  const timer = setInterval(() => ticks++, 2)
  try {
    const error = await errorOf(runner.run(new Map([['x', numbers(2)]])))
    assert.is(error.name, 'InputError')
    const identity = Float32Array.from({ length: 300 * 300 }, (_, i) => (i % 301 === 0 ? 1 : 0))
    const [found] = (await runner.run(new Map([['x', Tensor.of('float32', [300, 300], identity)]]))).values()
    assert.equal(found!.view(), identity)
    assert.ok(ticks >= 5, `${ticks} ticks of 2 ms`)
  } finally {
    clearInterval(timer)
    await runner.close()
  }
})

test('the engine is chosen by name; a second device is not offered', async () => {
  assert.is((await chooseEngine('tfjs')).engine.name, 'tfjs')
  const error = await errorOf(chooseEngine('tfjs:1'))
  assert.match(error.message, /--engine: tfjs has no devices to choose from, found "tfjs:1"/)
  assert.is(error.cure, 'write tfjs')
})

test.run()
