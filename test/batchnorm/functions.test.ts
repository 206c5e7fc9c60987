/** Batch norms inside local functions are recalibrated where the file keeps their statistics. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { recalibrate } from '../../src/batchnorm/index.ts'
import { inferenceSource } from '../../src/eval/inference-form.ts'
import { inspectModel } from '../../src/eval/inspect.ts'
import type { Attribute } from '../../src/ir/attribute.ts'
import { tensorOf } from '../../src/passes/index.ts'
import {
  deserializeModel,
  loadModel,
  saveModel,
  serializeModel,
  writePatched,
} from '../../src/serde/index.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { floats, randoms, tensorAttribute } from '../passes/support/build.ts'
import { withFunctions, type Definition } from '../passes/support/functions.ts'
import { openBytes, runModel } from '../passes/support/run.ts'
import { assertClose } from '../support/close.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-functions-'))

const scale = floats([3], [1, 2, 0.5])
const bias = floats([3], [0, -1, 1])
const zeros = () => floats([3], [0, 0, 0])
const ones = () => floats([3], [1, 1, 1])
const constant = (name: string, tensor: Tensor): [string, string[], string[], Record<string, Attribute>] => [
  'Constant',
  [],
  [name],
  { value: tensorAttribute(tensor) },
]

/** All of it the arguments of the call. */
const normOf: Definition = {
  name: 'Norm',
  body: {
    inputs: { x: [], s: [], b: [], m: [], v: [] },
    nodes: [['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y']]],
    outputs: ['y'],
  },
}

/** All of it Constant nodes of the body. */
const ownNorm = (training: boolean): Definition => ({
  name: 'OwnNorm',
  body: {
    inputs: { x: [] },
    nodes: [
      constant('s', scale),
      constant('b', bias),
      constant('m', zeros()),
      constant('v', ones()),
      training
        ? ['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y', 'm2', 'v2'], { training_mode: 1 }]
        : ['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y']],
    ],
    outputs: ['y'],
  },
})

const data = randoms([50, 3], 1)

/** Mean and unbiased variance of each column. */
function columns(tensor: Tensor): { mean: number[]; variance: number[] } {
  const values = tensor.toNumbers()
  const rows = values.length / 3
  const of = (c: number) => values.filter((_, i) => i % 3 === c)
  const mean = [0, 1, 2].map(c => of(c).reduce((a, b) => a + b, 0) / rows)
  const variance = mean.map((m, c) => of(c).reduce((a, b) => a + (b - m) ** 2, 0) / (rows - 1))
  return { mean, variance }
}

test('a function used twice with other tensors: each call gets statistics of its own', async () => {
  const path = join(folder, 'twice.onnx')
  await saveModel(
    withFunctions(
      {
        inputs: { x: ['N', 3] },
        weights: { s: scale, b: bias, m: zeros(), v: ones(), m2: zeros(), v2: ones() },
        nodes: [
          ['local::Norm', ['x', 's', 'b', 'm', 'v'], ['h']],
          ['local::Norm', ['h', 's', 'b', 'm2', 'v2'], ['y']],
        ],
        outputs: ['y'],
      },
      [normOf],
    ),
    path,
  )
  const written = await recalibrated(path)
  const weight = (name: string) =>
    tensorOf(written.graph.initializers.find(value => value.name === name))!.toNumbers()
  const expected = columns(data)
  assertClose(weight('m'), expected.mean, { absolute: 1e-6 }, 'first mean')
  assertClose(weight('v'), expected.variance, { relative: 1e-5 }, 'first variance')
  // What the first gives has its bias as mean, and its scale squared, times n / (n - 1), as unbiased variance.
  assertClose(weight('m2'), [0, -1, 1], { absolute: 1e-5 }, 'second mean')
  assertClose(
    weight('v2'),
    [1, 4, 0.25].map(v => (v * 50) / 49),
    { relative: 1e-3 },
    'second variance',
  )
  assert.is(written.functions.length, 1, 'the written model keeps its functions')
})

for (const training of [false, true]) {
  test(`statistics in a body, ${training ? 'training' : 'inference'} form: written there, used by evaluation`, async () => {
    const path = join(folder, `own-${training}.onnx`)
    const model = withFunctions(
      { inputs: { x: ['N', 3] }, nodes: [['local::OwnNorm', ['x'], ['y']]], outputs: ['y'] },
      [ownNorm(training)],
    )
    await saveModel(model, path)
    assert.is((await inspectModel(path)).batchNorm.state, 'present')
    const written = await recalibrated(path)
    const { nodes } = written.functions[0]!.graph
    const stored = (name: string) => tensorOf(nodes.find(node => node.output(0).name === name)!.output(0))!
    const { mean, variance } = columns(data)
    assertClose(stored('m').toNumbers(), mean, { absolute: 1e-6 }, 'mean')
    assertClose(stored('v').toNumbers(), variance, { relative: 1e-5 }, 'variance')
    // Evaluation normalises with them: y = scale (x - mean) / sqrt(variance + epsilon) + bias.
    const file = await loadModel(join(folder, 'written.onnx'))
    const source = await inferenceSource(file, await serializeModel(written))
    await file.close()
    const y = (await runModel(await deserializeModel(source), new Map([['x', data]]))).get('y')!
    const [s, b] = [scale.toNumbers(), bias.toNumbers()]
    const expected = data
      .toNumbers()
      .map((x, i) => (s[i % 3]! * (x - mean[i % 3]!)) / Math.sqrt(variance[i % 3]! + 1e-5) + b[i % 3]!)
    assertClose(y.toNumbers(), expected, { absolute: 1e-5 }, 'y')
  })
}

/** The model of a file with the statistics of `data`, written and read again. */
async function recalibrated(path: string) {
  const file = await loadModel(path)
  const { replacements } = await recalibrate(file.model, openBytes, [new Map([['x', data]])])
  const sources = [...replacements].map(
    ([tensor, { data }]) => [tensor, new MemorySource(data as Uint8Array)] as const,
  )
  const out = join(folder, 'written.onnx')
  await writePatched(file, out, new Map(sources), new Map())
  await file.close()
  const written = await loadModel(out)
  for (const { graph } of written.model.functions) {
    for (const node of graph.nodes) {
      const tensor = node.tensor('value')
      if (tensor) node.attributes.set('value', { kind: 'tensor', value: await tensor.load() })
    }
  }
  for (const value of written.model.graph.initializers) value.tensor = await value.tensor!.load()
  await written.close()
  return written.model
}

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
