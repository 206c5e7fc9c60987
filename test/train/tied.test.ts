/** Weights that are read twice, stored twice, or read behind other nodes: gradients against their closed forms. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findObstacles } from '../../src/eval/obstacles.ts'
import { classifyWeights, copyNotes, findEqualCopies } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildModel, floats, int64s, randoms, type NodeRow } from '../passes/support/build.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { stepOf } from '../support/first-step.ts'

const [WORDS, WIDTH] = [16, 5]
const table = randoms([WORDS, WIDTH])
const ids = [3, 0, 3, 7]
const E = Array.from({ length: WORDS }, (_, i) => table.toNumbers().slice(i * WIDTH, (i + 1) * WIDTH))

const transpose = (rows: readonly (readonly number[])[]) => rows[0]!.map((_, j) => rows.map(row => row[j]!))
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, v, i) => sum + v * b[i]!, 0)
const multiply = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]) =>
  a.map(row => transpose(b).map(column => dot(row, column)))

/** y = E[ids] E' under mean(y²): the gradients by way of the decoder and of the embedding. */
function closedForm(): { decoder: number[][]; embedding: number[][] } {
  const taken = ids.map(id => E[id]!)
  const y = multiply(taken, transpose(E))
  const dy = y.map(row => row.map(v => (2 * v) / (ids.length * WORDS)))
  const embedding = E.map(() => Array<number>(WIDTH).fill(0))
  multiply(dy, E).forEach((row, i) => row.forEach((v, j) => (embedding[ids[i]!]![j]! += v)))
  return { decoder: multiply(transpose(dy), taken), embedding }
}

const squares = {
  loss: { kind: 'mse' } as const,
  heads: [{ attach: 'output' } as const],
  targets: { '': floats([ids.length, WORDS], Array(ids.length * WORDS).fill(0)) },
}
const tokens = { ids: Tensor.of('int64', [ids.length], ids.map(BigInt)) }
const decoderOf = (weights: Record<string, Tensor>, nodes: readonly NodeRow[]) =>
  buildModel({
    inputs: { ids: [{ dtype: 'int64' }, ids.length] },
    weights,
    nodes: [['Gather', ['embedding', 'ids'], ['taken']], ...nodes],
    outputs: ['y'],
  })

test('a tied embedding is one parameter, whose gradient is the sum over both of its uses', async () => {
  const model = decoderOf({ embedding: table }, [
    ['Transpose', ['embedding'], ['turned'], { perm: [1, 0] }],
    ['MatMul', ['taken', 'turned'], ['y']],
  ])
  const { gradients, graph } = await stepOf(model, { ...squares, inputs: tokens })
  assert.equal(
    graph.parameters.map(({ name }) => name),
    ['embedding'],
  )
  const { decoder, embedding } = closedForm()
  const sum = decoder.flatMap((row, i) => row.map((v, j) => v + embedding[i]![j]!))
  assertClose(gradients.get('embedding')!.toNumbers(), sum, { absolute: 1e-5 }, 'embedding')
  assert.equal(await findEqualCopies(graph.parameters), [])
})

test('two equal copies are two parameters, each with its own part, and are named', async () => {
  const turned = floats([WIDTH, WORDS], transpose(E).flat())
  const model = decoderOf({ embedding: table, 'decoder.weight': turned, other: randoms([WIDTH, WORDS], 9) }, [
    ['MatMul', ['taken', 'decoder.weight'], ['h']],
    ['MatMul', ['taken', 'other'], ['z']],
    ['Sub', ['z', 'z'], ['none']],
    ['Add', ['h', 'none'], ['y']],
  ])
  const { gradients, graph } = await stepOf(model, { ...squares, inputs: tokens })
  const { decoder, embedding } = closedForm()
  assertClose(gradients.get('embedding')!.toNumbers(), embedding.flat(), { absolute: 1e-5 }, 'embedding')
  assertClose(
    gradients.get('decoder.weight')!.toNumbers(),
    transpose(decoder).flat(),
    { absolute: 1e-5 },
    'decoder',
  )
  const copies = await findEqualCopies(graph.parameters)
  assert.equal(copies, [{ names: ['embedding', 'decoder.weight'], transposed: true }])
  assert.match(
    copyNotes(copies)[0]!,
    /^equal copies: "embedding" and "decoder\.weight" \(transposed\); each is trained/,
  )
})

test('copies are found as they are; equal starts and small matrices are not copies', async () => {
  const named = (name: string, tensor: Tensor) => ({ name, tensor })
  const again = floats([WORDS, WIDTH], table.toNumbers())
  const ones = () => floats([8, 8], Array(64).fill(1))
  const nearly = floats([WORDS, WIDTH], [...table.toNumbers().slice(0, -1), 0])
  assert.equal(
    await findEqualCopies([
      named('a', table),
      named('tied', table),
      named('nearly', nearly),
      named('b', again),
      named('ones', ones()),
      named('ones too', ones()),
      named('small', floats([2, 2], [1, 2, 3, 4])),
      named('small too', floats([2, 2], [1, 2, 3, 4])),
    ]),
    [{ names: ['a', 'b'], transposed: false }],
  )
})

test('weights behind Concat, Reshape, Cast, Identity and Transpose are parameters, with their parts of the gradient', async () => {
  const weights = { q: randoms([2, 3], 1), k: randoms([1, 6], 2), v: randoms([3, 2], 3), shape: int64s(2, 3) }
  const model = buildModel({
    inputs: { x: [2, 3] },
    weights,
    nodes: [
      ['Cast', ['q'], ['q2'], { to: 1 }],
      ['Reshape', ['k', 'shape'], ['k2']],
      ['Transpose', ['v'], ['v2'], { perm: [1, 0] }],
      ['Identity', ['v2'], ['v3']],
      ['Concat', ['q2', 'k2', 'v3'], ['qkv'], { axis: 0 }],
      ['Gemm', ['x', 'qkv'], ['y'], { transB: 1 }],
    ],
    outputs: ['y'],
  })
  const x = [
    [0.5, -1, 2],
    [0.25, 1.5, -0.75],
  ]
  const rows = (tensor: Tensor, width: number) =>
    Array.from({ length: tensor.size / width }, (_, i) =>
      tensor.toNumbers().slice(i * width, (i + 1) * width),
    )
  const all = [...rows(weights.q, 3), ...rows(weights.k, 3), ...transpose(rows(weights.v, 2))]
  const dy = multiply(x, transpose(all)).map(row => row.map(value => (2 * value) / 12))
  const dw = multiply(transpose(dy), x)
  const { gradients } = await stepOf(model, {
    ...squares,
    inputs: { x: floats([2, 3], x.flat()) },
    targets: { '': floats([2, 6], Array(12).fill(0)) },
  })
  assertClose(gradients.get('q')!.toNumbers(), dw.slice(0, 2).flat(), { absolute: 1e-5 }, 'q')
  assertClose(gradients.get('k')!.toNumbers(), dw.slice(2, 4).flat(), { absolute: 1e-5 }, 'k')
  assertClose(gradients.get('v')!.toNumbers(), transpose(dw.slice(4)).flat(), { absolute: 1e-5 }, 'v')
  assert.equal(
    (await classifyWeights(model)).map(({ name, role }) => `${name} ${role}`),
    ['q parameter', 'k parameter', 'v parameter', 'shape constant'],
  )
})

test('weights that are stored as integers are refused by the name of what unpacks them', async () => {
  const model = buildModel({
    inputs: { x: [2, 3] },
    weights: {
      w: Tensor.of('int8', [3, 2], [1, 2, 3, 4, 5, 6]),
      scale: floats([], [0.5]),
      zero: Tensor.of('int8', [], [0]),
    },
    nodes: [
      ['DequantizeLinear', ['w', 'scale', 'zero'], ['d']],
      ['Transpose', ['d'], ['t'], { perm: [1, 0] }],
      ['Gemm', ['x', 't'], ['y'], { transB: 1 }],
    ],
    outputs: ['y'],
  })
  const expected =
    'model: expected float weights, found a quantized graph (DequantizeLinear x 1; first DequantizeLinear "DequantizeLinear_0")'
  assert.is((await errorOf(prepareTraining(cpuEngine(), model, { batchSize: 2 }))).message, expected)
  assert.is((await findObstacles(model))[0]!.message, expected)
})

test.run()
