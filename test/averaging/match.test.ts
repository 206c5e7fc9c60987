/** Same graph or not: facts, fingerprints and the first difference. */

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { graphFingerprint } from '../../src/averaging/fingerprint.ts'
import { describeModel } from '../../src/averaging/graph-description.ts'
import { matchGraphs } from '../../src/averaging/match.ts'
import { modelWeights } from '../../src/averaging/model-weights.ts'
import { float, int, ints, text, type Attribute } from '../../src/ir/attribute.ts'
import { FunctionDefinition, Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { loadModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'

const test = suite('averaging: match')

/** What the tests change about the small model. */
interface Variant {
  opset?: number
  input?: string
  inputShape?: (number | string | null)[]
  operator?: string
  pads?: Attribute
  extra?: boolean
  weightDims?: number[]
  weightName?: string
  weight?: number
  bound?: number
  shape?: number[]
  middle?: string
  swapped?: boolean
  branch?: string
  branchWeight?: number
  constant?: number
}

/** Clip(Conv(x, w)) reshaped, plus a Constant weight, plus an If whose branches hold weights. */
function small(variant: Variant = {}): Model {
  const graph = new Graph('g')
  const x = Value.typed(variant.input ?? 'x', 'float32', variant.inputShape ?? ['batch', 1, 4, 4])
  const flag = Value.typed('flag', 'bool', [])
  const dims = variant.weightDims ?? [1, 1, 3, 3]
  const size = dims.reduce((a, b) => a * b)
  const w = Value.constant(
    variant.weightName ?? 'w',
    Tensor.of(
      'float32',
      dims,
      Float32Array.from({ length: size }, () => variant.weight ?? 1),
    ),
  )
  const bound = Value.constant('bound', Tensor.scalar('float32', variant.bound ?? 6))
  const shape = Value.constant('shape', Tensor.of('int64', [2], (variant.shape ?? [-1, 16]).map(BigInt)))
  graph.initializers = [w, bound, shape]
  graph.inputs = [x, flag]
  const value = (name: string) => new Value(name)
  const conv = new Node(variant.operator ?? 'Conv', [x, w], [value(variant.middle ?? 'y')], {
    name: 'stem',
    attributes: new Map<string, Attribute>([
      ['pads', variant.pads ?? ints([1, 1, 1, 1])],
      ['auto_pad', text('NOTSET')],
    ]),
  })
  const clip = new Node('Clip', [conv.output(0), null, bound], [value('c')])
  const flat = new Node('Reshape', [clip.output(0), shape], [value('f')])
  const constant = new Node('Constant', [], [value('k')], {
    attributes: new Map([
      ['value', { kind: 'tensor', value: Tensor.of('float32', [1], [variant.constant ?? 2]) }],
    ]),
  })
  const operands = [flat.output(0), constant.output(0)]
  const add = new Node('Mul', variant.swapped ? operands.reverse() : operands, [value('m')])
  const branch = (name: string, operator: string) => {
    const body = new Graph(name)
    const weight = Value.constant(
      'b',
      Tensor.of('float32', [16], new Float32Array(16).fill(variant.branchWeight ?? 3)),
    )
    const node = new Node(operator, [add.output(0), weight], [value('o')])
    body.initializers = [weight]
    body.nodes = [node]
    body.outputs = [node.output(0)]
    return body
  }
  const choice = new Node('If', [flag], [value('out')], {
    name: 'choice',
    attributes: new Map([
      ['then_branch', { kind: 'graph', value: branch('then', variant.branch ?? 'Add') }],
      ['else_branch', { kind: 'graph', value: branch('else', 'Sub') }],
    ]),
  })
  graph.nodes = [conv, clip, flat, constant, add, choice]
  if (variant.extra)
    graph.nodes.splice(1, 0, new Node('Relu', [conv.output(0)], [value('r')], { name: 'act' }))
  graph.outputs = [choice.output(0)]
  return new Model(graph, 8, new Map([['', variant.opset ?? 17]]))
}

async function difference(a: Model, b: Model): Promise<string> {
  const [expected, found] = [await describeModel(a), await describeModel(b)]
  const error = await errorOf(() =>
    matchGraphs({ path: 'a.onnx', facts: expected }, { path: 'b.onnx', facts: found }),
  )
  assert.ok(error.message.startsWith('average: b.onnx is not the same graph as a.onnx: '), error.message)
  return error.message.slice('average: b.onnx is not the same graph as a.onnx: '.length)
}

test('operator sets that no node is of are no difference', async () => {
  const declared = small()
  declared.opsetImports = new Map([...declared.opsetImports, ['com.microsoft', 1]])
  assert.equal(await describeModel(declared), await describeModel(small()))
})

test('what is no difference: weights, names in between, symbolic dimensions', async () => {
  const facts = await describeModel(small())
  for (const variant of [
    { weight: 5 },
    { constant: 7 },
    { branchWeight: 9 },
    { middle: 'other_name' },
    { inputShape: ['n', 1, 4, 4] },
    { inputShape: [null, 1, 4, 4] },
  ] satisfies Variant[]) {
    matchGraphs({ path: 'a', facts }, { path: 'b', facts: await describeModel(small(variant)) })
    assert.is(await graphFingerprint(small(variant)), await graphFingerprint(small()))
  }
})

test('the first difference is named', async () => {
  const expected: [Variant, string][] = [
    [{ opset: 18 }, 'model: version of operator set "ai.onnx": expected 17, found 18'],
    [
      { input: 'image' },
      'graph: inputs: expected "x" float32[?,1,4,4], "flag" bool[], found "image" float32[?,1,4,4], "flag" bool[]',
    ],
    [
      { inputShape: ['n', 1, 8, 8] },
      'graph: inputs: expected "x" float32[?,1,4,4], "flag" bool[], found "x" float32[?,1,8,8], "flag" bool[]',
    ],
    [
      { weightDims: [1, 1, 5, 5] },
      'graph: initializer "w": expected float32[1,1,3,3], found float32[1,1,5,5]',
    ],
    [
      { weightName: 'v' },
      'expected initializer "w" float32[1,1,3,3] (graph), found initializer "v" float32[1,1,3,3] (graph)',
    ],
    [{ bound: 1 }, 'graph: initializer "bound": expected float32[] 6, found float32[] 1'],
    [{ shape: [-1, 4] }, 'graph: initializer "shape": expected int64[2] -1, 16, found int64[2] -1, 4'],
    [
      { operator: 'ConvTranspose' },
      'node 0, ConvTranspose "stem": operator: expected Conv (node 0, Conv "stem"), found ConvTranspose',
    ],
    [
      { pads: ints([0, 0, 0, 0]) },
      'node 0, Conv "stem": attribute pads: expected ints 1, 1, 1, 1, found ints 0, 0, 0, 0',
    ],
    [{ pads: int(1) }, 'node 0, Conv "stem": attribute pads: expected ints 1, 1, 1, 1, found int 1'],
    [{ pads: float(1) }, 'node 0, Conv "stem": attribute pads: expected ints 1, 1, 1, 1, found float 1'],
    [{ extra: true }, 'node 1, Relu "act": operator: expected Clip (node 1, Clip "c"), found Relu'],
    [{ swapped: true }, 'node 4, Mul "m": inputs: expected %2, %3, found %3, %2'],
    [
      { branch: 'Mul' },
      'node 5, If "choice", then_branch, node 0, Mul "o": operator: expected Add (node 5, If "choice", then_branch, node 0, Add "o"), found Mul',
    ],
  ]
  for (const [variant, message] of expected) {
    assert.is(await difference(small(), small(variant)), message)
    assert.is.not(await graphFingerprint(small(variant)), await graphFingerprint(small()), message)
  }
})

test('a graph that ends earlier', async () => {
  const longer = small()
  const shorter = small()
  longer.functions = [new FunctionDefinition('d', 'f', '', new Graph('body'))]
  assert.is(await difference(longer, shorter), 'expected overload none (function d.f), found nothing')
  assert.is(await difference(shorter, longer), 'expected nothing, found overload none (function d.f)')
})

test('weights have the names of snapshots; the same name in two branches is told apart', () => {
  const list = modelWeights(small()).map(({ name, fixed }) => [name, fixed])
  assert.equal(list, [
    ['w', null],
    ['bound', 'input 2 of Clip "c"'],
    ['shape', 'elements are int64'],
    ['k', null],
    ['b', null],
    ['choice/b', null],
  ])
})

test('a value that nothing defines is refused', async () => {
  const model = small()
  model.graph.nodes[0]!.inputs[1] = new Value('sparse')
  assert.match((await errorOf(describeModel(model))).message, /value "sparse" has no producer/)
})

test('every fixture model equals itself and no other', async () => {
  const folder = fileURLToPath(new URL('../../fixtures/models/', import.meta.url))
  const seen = new Map<string, string>()
  for (const name of readdirSync(folder).sort()) {
    const file = await loadModel(`${folder}${name}/model.onnx`)
    const again = await loadModel(`${folder}${name}/model.onnx`)
    try {
      const facts = await describeModel(file.model)
      matchGraphs({ path: 'a', facts }, { path: 'b', facts: await describeModel(again.model) })
      const fingerprint = await graphFingerprint(file.model)
      assert.is(seen.get(fingerprint), undefined, name)
      seen.set(fingerprint, name)
    } finally {
      await file.close()
      await again.close()
    }
  }
  assert.ok(seen.size >= 11)
})

test('batch normalization folded in one of the files is recognised', async () => {
  const kept = [{ place: 'node 1', subject: 'operator', text: 'BatchNormalization' }]
  const folded = [{ place: 'node 1', subject: 'operator', text: 'Relu' }]
  const error = await errorOf(() => matchGraphs({ path: 'a', facts: kept }, { path: 'b', facts: folded }))
  assert.match(error.cure!, /batch normalization folded/)
})

test.run()
