/** What a loaded model is: names that became values, types, functions, versions; and what it refuses. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { capturesOf } from '../../src/ir/topology.ts'
import {
  deserializeModel,
  externalDataOf,
  loadModel,
  serializeModel,
  type DeserializeOptions,
} from '../../src/serde/index.ts'
import { onnx } from '../../src/serde/generated/onnx.js'
import { errorOf } from '../support/errors.ts'
import { FIXTURES, inFolder } from './support/files.ts'

type ModelProto = onnx.ModelProto.$Properties
type GraphProto = onnx.GraphProto.$Properties
type NodeProto = onnx.NodeProto.$Properties

const { INT, TENSOR } = onnx.AttributeProto.AttributeType
const { EXTERNAL } = onnx.TensorProto.DataLocation

const floats = (name: string, ...values: number[]) => ({
  name,
  data_type: 1,
  dims: [values.length],
  float_data: values,
})
const relu = (input: string, output: string, rest: NodeProto = {}): NodeProto => ({
  ...{ op_type: 'Relu', input: [input], output: [output] },
  ...rest,
})

/** A model of one Relu, with parts of it replaced. */
function encode(graph: GraphProto = {}, model: ModelProto = {}): Uint8Array {
  const base = { name: 'g', node: [relu('x', 'y')], input: [{ name: 'x' }], output: [{ name: 'y' }] }
  const opset_import = [{ domain: '', version: 17 }]
  return onnx.ModelProto.encode({
    ir_version: 8,
    opset_import,
    graph: { ...base, ...graph },
    ...model,
  }).finish()
}

const read = (graph?: GraphProto, model?: ModelProto, options?: DeserializeOptions) =>
  deserializeModel(encode(graph, model), 'm', options)

test('IR 3: an initializer that is an input too is one value, and no feed', async () => {
  const file = await loadModel(join(FIXTURES, 'ir3.onnx'))
  const { model } = file
  const { graph } = model
  assert.equal(
    graph.inputs.map(value => value.name),
    ['x', 'w', 'b'],
  )
  assert.equal(
    graph.feeds.map(value => value.name),
    ['x'],
  )
  assert.is(graph.initializers[0], graph.inputs[1])
  assert.is(graph.nodes[0]!.inputs[1], graph.initializers[0])
  await file.close()
})

test('sub-graphs read the very values of the graphs around them', async () => {
  const file = await loadModel(join(FIXTURES, 'subgraphs.onnx'))
  const { model } = file
  const [loop] = model.graph.nodes
  const [body] = [...loop!.subgraphs()]
  const branches = [...body!.nodes.find(node => node.opType === 'If')!.subgraphs()]
  const [otherwise, then] = branches
  assert.is(
    otherwise!.nodes[0]!.inputs[1],
    model.graph.initializers.find(value => value.name === 'w'),
  )
  assert.is(otherwise!.nodes[0]!.inputs[0], body!.inputs[2])
  assert.is(then!.nodes[0]!.inputs[1], then!.initializers[0])
  assert.equal([...capturesOf(body!)].map(value => value.name).sort(), ['two', 'w'])
  assert.not(then!.initializers[0]!.tensor!.resident)
  await file.close()
})

test('functions: bodies, attribute references, overloads, own operator sets', async () => {
  const file = await loadModel(join(FIXTURES, 'functions.onnx'))
  const { model } = file
  const [act, twice] = model.functions
  assert.is(`${act!.domain}.${act!.name}`, 'local.Act')
  assert.equal(act!.graph.nodes[0]!.attributes.get('alpha')?.value, { name: 'slope', type: 1 })
  assert.equal(act!.graph.nodes[1]!.tensor('value')!.dims, [300])
  assert.is(act!.graph.nodes[2]!.inputs[0], act!.graph.nodes[0]!.outputs[0])
  assert.is(twice!.overload, 'fast')
  assert.is(model.graph.nodes[0]!.overload, 'fast')
  assert.equal(
    [...twice!.opsetImports],
    [
      ['', 21],
      ['local', 1],
    ],
  )
  await file.close()
})

test('the data files of a model', async () => {
  const path = join(FIXTURES, 'external.onnx')
  const file = await loadModel(path)
  const { files, tensors } = externalDataOf(file)
  assert.equal(files, [{ path: join(FIXTURES, 'external.data'), tensors: 3, bytes: 8012 }])
  assert.is(tensors.size, 3)
  await file.close()
})

test('types, domains and 64-bit numbers', async () => {
  const file = await loadModel(join(FIXTURES, 'everything.onnx'))
  const { model } = file
  assert.is(model.opset, 21)
  assert.is(model.graph.nodes[0]!.domain, '')
  const attributes = model.graph.nodes[1]!.attributes
  assert.equal(attributes.get('ints')?.value, [2n ** 63n - 1n, -1n, 0n])
  assert.is(attributes.get('an_int')?.value, -(2n ** 63n))
  assert.equal(model.graph.inputs[0]!.type, { kind: 'tensor', dtype: 'float32', shape: ['batch', 4] })
  assert.equal(model.graph.inputs[1]!.type, { kind: 'opaque', description: 'seq(tensor(float32))' })
  await file.close()
})

test('nodes in any order are put in order', async () => {
  const { graph } = await read({
    node: [relu('h', 'y', { name: 'second' }), relu('x', 'h', { name: 'first' })],
  })
  assert.equal(
    graph.nodes.map(node => node.name),
    ['first', 'second'],
  )
  assert.is(graph.nodes[1]!.inputs[0]!.producer, graph.nodes[0])
})

test('an inner name hides an outer one', async () => {
  const body = { name: 'b', node: [relu('x', 'h')], output: [{ name: 'h' }] }
  const branch = (name: string) => ({ name, type: 5, g: body })
  const node = {
    op_type: 'If',
    input: ['x'],
    output: ['y'],
    attribute: [branch('then_branch'), branch('else_branch')],
  }
  const model = await read({ node: [relu('x', 'h'), node] })
  const [inner] = [...model.graph.nodes[1]!.subgraphs()]
  assert.is(inner!.outputs[0], inner!.nodes[0]!.outputs[0])
  assert.is.not(inner!.outputs[0], model.graph.nodes[0]!.outputs[0])
})

test('IR 1: an attribute without type has that of the field in use', async () => {
  const model = await read({ node: [relu('x', 'y', { attribute: [{ name: 'a', ints: [1, 2] }] })] })
  assert.equal(model.graph.nodes[0]!.ints('a', []), [1, 2])
})

test('opsets of the default domain: 9 to 23, unless told otherwise', async () => {
  for (const version of [9, 23]) {
    assert.is((await read({}, { opset_import: [{ version }] })).opset, version)
  }
  const cases: [ModelProto, string][] = [
    [{ opset_import: [{ version: 8 }] }, 'm: opset 8 is not supported, expected 9 to 23'],
    [
      { opset_import: [{ domain: 'ai.onnx', version: 24 }] },
      'm: opset 24 is not supported, expected 9 to 23',
    ],
    [{ opset_import: [] }, 'm: opset 1 is not supported, expected 9 to 23'],
    [
      { opset_import: [{ version: 9 }, { domain: 'ai.onnx', version: 10 }] },
      'm: operator set "ai.onnx" is imported at versions 9 and 10',
    ],
    [
      { functions: [{ name: 'f', node: [], opset_import: [{ version: 3 }] }] },
      'm: function "f": opset 3 is not supported, expected 9 to 23',
    ],
  ]
  for (const [proto, message] of cases) {
    const error = await errorOf(read({}, proto))
    assert.is(error.message, message)
  }
  assert.is((await read({}, { opset_import: [{ version: 8 }] }, { anyOpset: true })).opset, 8)
  const custom = relu('x', 'y', { domain: 'mine' })
  await read({ node: [custom] }, { opset_import: [{ domain: 'mine', version: 1 }] })
})

const REFUSED: [string, GraphProto, string][] = [
  [
    'two outputs of one name',
    { node: [relu('x', 'y'), relu('x', 'y')] },
    'm: output of node 1 (Relu) "y": another value of the graph has this name',
  ],
  [
    'an output named like an input',
    { node: [relu('x', 'x')], output: [] },
    'm: output of node 0 (Relu) "x": another value of the graph has this name',
  ],
  [
    'two inputs of one name',
    { input: [{ name: 'x' }, { name: 'x' }] },
    'm: input "x": another value of the graph has this name',
  ],
  ['an input without name', { input: [{}, { name: 'x' }] }, 'm: input has no name'],
  [
    'two initializers of one name',
    { initializer: [floats('w', 1), floats('w', 2)] },
    'm: initializer "w" is given twice',
  ],
  [
    'an input that is initialized twice',
    { initializer: [floats('x', 1), floats('x', 2)] },
    'm: initializer "x" is given twice',
  ],
  [
    'a name that nothing gives',
    { node: [relu('z', 'y', { name: 'r' })] },
    'm: input 0 of node 0 (Relu "r") is "z", which nothing produces',
  ],
  [
    'an output that nothing gives',
    { output: [{ name: 'z' }] },
    'm: an output is "z", which nothing produces',
  ],
  [
    'a cycle',
    { node: [relu('b', 'a'), relu('a', 'b')], output: [] },
    'm: graph: Relu "b" is part of a cycle',
  ],
  ['a node without operator', { node: [{ output: ['y'] }] }, 'm: node 0 (?) has no op_type'],
  [
    'an attribute given twice',
    {
      node: [
        relu('x', 'y', {
          attribute: [
            { name: 'a', i: 1, type: INT },
            { name: 'a', i: 2, type: INT },
          ],
        }),
      ],
    },
    'm: node 0 (Relu): attribute a is given twice',
  ],
  [
    'an attribute without value',
    { node: [relu('x', 'y', { attribute: [{ name: 'a' }] })] },
    'm: node 0 (Relu): attribute a has no type and 0 values',
  ],
  [
    'an empty tensor attribute',
    { node: [relu('x', 'y', { attribute: [{ name: 'a', type: TENSOR }] })] },
    'm: node 0 (Relu): attribute a is of type tensor and holds none',
  ],
  [
    'an attribute with two values',
    { node: [relu('x', 'y', { attribute: [{ name: 'a', type: INT, i: 1, t: floats('t', 1) }] })] },
    'm: node 0 (Relu): attribute a of type 2 holds a second value in t',
  ],
  [
    'an unknown element type',
    { initializer: [{ name: 'w', data_type: 27 }] },
    'm: initializer "w": unknown tensor data type 27, expected 1 to 26',
  ],
  [
    'a negative dimension',
    { initializer: [{ name: 'w', data_type: 1, dims: [-1] }] },
    'm: initializer "w": the shape [-1] is impossible',
  ],
  [
    'a huge shape',
    { initializer: [{ name: 'w', data_type: 1, dims: [2 ** 40, 2 ** 40] }] },
    `m: initializer "w": the shape [${2 ** 40},${2 ** 40}] is impossible`,
  ],
  [
    'too few elements',
    { initializer: [{ name: 'w', data_type: 1, dims: [2 ** 40], raw_data: new Uint8Array(4) }] },
    `m: initializer "w": float32[${2 ** 40}]: expected ${2 ** 42} bytes of elements, found 4`,
  ],
  [
    'no elements',
    { initializer: [{ name: 'w', data_type: 1, dims: [3] }] },
    'm: initializer "w": float32[3]: expected 12 bytes, the tensor is empty',
  ],
  [
    'elements twice',
    { initializer: [{ ...floats('w', 1), raw_data: new Uint8Array(4) }] },
    'm: initializer "w": float32[1]: elements both in float_data and in raw_data',
  ],
  [
    'elements in a wrong field',
    { initializer: [{ name: 'w', data_type: 10, dims: [1], float_data: [1] }] },
    'm: initializer "w": float16[1]: elements expected in int32_data or raw_data, found in float_data',
  ],
  [
    'too few strings',
    { initializer: [{ name: 'w', data_type: 8, dims: [2], string_data: [new Uint8Array(1)] }] },
    'm: initializer "w": string[2]: expected 2 strings, found 1',
  ],
  [
    'a segment',
    { initializer: [{ ...floats('w', 1), segment: { begin: 0, end: 1 } }] },
    'm: initializer "w": a tensor in segments is not supported',
  ],
  [
    'external data of a model in memory',
    { initializer: [{ name: 'w', data_type: 1, dims: [1], data_location: EXTERNAL }] },
    'm: initializer "w": float32[1]: the elements are in another file',
  ],
  [
    'an initializer of another type than its input',
    { input: [{ name: 'x', type: { tensor_type: { elem_type: 7 } } }], initializer: [floats('x', 1)] },
    'm: initializer "x" is declared as int64 but holds float32[1]',
  ],
]

for (const [what, graph, message] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const error = await errorOf(read(graph))
    assert.is(error.message, message)
    assert.is(error.exitCode, 3)
  })
}

test('refused: files that are no model', async () => {
  await inFolder(async folder => {
    const path = join(folder, 'f.onnx')
    const body = onnx.FunctionProto.encode({
      name: 'f',
      input: ['x'],
      output: ['y'],
      node: [relu('x', 'y')],
    }).finish()
    const text = Buffer.from('{"this": "is not a protobuf message at all"}')
    for (const bytes of [body, text, new Uint8Array(0), Buffer.alloc(100), Buffer.from('PK\x03\x04 zip')]) {
      writeFileSync(path, bytes)
      const error = await errorOf(loadModel(path))
      assert.is(error.exitCode, 3)
      assert.match(error.message, /f\.onnx: not (an ONNX model|a valid ONNX file)/)
      assert.ok(error.cure)
    }
    assert.match((await errorOf(loadModel(join(folder, 'none.onnx')))).message, /^read .*none\.onnx: ENOENT/)
    assert.match((await errorOf(loadModel(folder))).message, /expected a regular file|EISDIR/)
  })
})

test('refused on write: two values of one name, a value that is not of the graph', async () => {
  const model = await read({ node: [relu('x', 'h'), relu('h', 'y')] })
  model.graph.nodes[0]!.outputs[0]!.name = 'y'
  assert.is((await errorOf(serializeModel(model))).message, 'internal: two values of a graph are named "y"')
  const other = await read()
  const stray = await read({ node: [relu('x', 'h'), relu('h', 'y')] })
  other.graph.nodes[0]!.inputs[0] = stray.graph.nodes[0]!.outputs[0]!
  const { message } = await errorOf(serializeModel(other))
  assert.is(message, 'internal: Relu "y" reads "h", which its graph does not have')
})

test.run()
