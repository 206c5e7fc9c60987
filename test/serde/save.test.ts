/** saveModel: where weights go, and models above 2 GiB (through sparse files, which take no room on disk). */

import { closeSync, ftruncateSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { onnx } from '../../src/serde/generated/onnx.js'
import { ExternalLayout } from '../../src/serde/external-layout.ts'
import { loadModel, saveModel, serializeModel } from '../../src/serde/index.ts'
import { joinSegments } from '../../src/serde/segment.ts'
import { encodeField, encodeTag, encodeVarint } from '../../src/serde/wire.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { FIXTURES, inFolder } from './support/files.ts'

/** y = x · w for each weight, built and not loaded. */
function build(...weights: Tensor[]): Model {
  const graph = new Graph('g')
  const x = Value.typed('x', 'float32', ['n', 4])
  graph.inputs = [x]
  graph.initializers = weights.map((tensor, i) => Value.constant(`w${i}`, tensor))
  graph.nodes = graph.initializers.map(
    (w, i) => new Node('Mul', [x, w], [Value.typed(`y${i}`, 'float32', ['n', 4])]),
  )
  graph.outputs = graph.nodes.map(node => node.output(0))
  return new Model(graph, 8, new Map([['', 17]]))
}

test('keep: weights that were outside go to one file named after the model', () =>
  inFolder(async folder => {
    const file = await loadModel(join(FIXTURES, 'external.onnx'))
    await saveModel(file.model, join(folder, 'a.onnx'))
    await file.close()
    assert.equal(readdirSync(folder).sort(), ['a.onnx', 'a.onnx.data'])
    const saved = await loadModel(join(folder, 'a.onnx'))
    await saveModel(saved.model, join(folder, 'b.onnx'), { externalData: 'inline' })
    await saved.close()
    assert.equal(readdirSync(folder).sort(), ['a.onnx', 'a.onnx.data', 'b.onnx'])
  }))

test('a threshold decides what goes outside; big weights are aligned', () =>
  inFolder(async folder => {
    const weights = [3, 400, 1 << 19].map((size, i) =>
      Tensor.of('float32', [size], new Float32Array(size).fill(i + 1)),
    )
    const path = join(folder, 'a.onnx')
    await saveModel(build(...weights), path, { externalData: { location: 'w.bin', threshold: 1000 } })
    const file = await loadModel(path)
    const places = file.model.graph.initializers.map(({ tensor }) => tensor!.data)
    assert.ok(places[0] instanceof Uint8Array)
    assert.equal(
      places.slice(1).map(data => 'offset' in data && [data.offset, data.length]),
      [
        [0, 1600],
        [65536, 2 ** 21],
      ],
    )
    for (const [i, { tensor }] of file.model.graph.initializers.entries()) {
      assert.ok(Buffer.compare(await tensor!.bytes(), await weights[i]!.bytes()) === 0)
    }
    await file.close()
  }))

for (const location of ['../w.bin', '/tmp/w.bin', 'sub/w.bin', 'C:w.bin', '', '.', 'a\\b']) {
  test(`refused on write: location ${JSON.stringify(location)}`, () =>
    inFolder(async folder => {
      const model = build(Tensor.of('float32', [1], [1]))
      const error = await errorOf(saveModel(model, join(folder, 'a.onnx'), { externalData: { location } }))
      assert.match(error.message, /^write external data: .*location/)
      assert.equal(readdirSync(folder), [])
    }))
}

/** A file of any length that takes no room: only its first bytes are written. */
function sparseFile(path: string, length: number, head: Uint8Array = new Uint8Array(0)): void {
  const handle = openSync(path, 'w')
  writeSync(handle, head)
  ftruncateSync(handle, length)
  closeSync(handle)
}

test('sparse file: a model of 1.9 GiB costs its outline in memory', () =>
  inFolder(async folder => {
    const elements = 499_000_000
    const head = onnx.TensorProto.encode({ dims: [elements], data_type: 1, name: 'w' }).finish()
    const raw = Buffer.concat([head, encodeTag(9, 2), encodeVarint(elements * 4)])
    const tensor = Buffer.concat([encodeTag(5, 2), encodeVarint(raw.length + elements * 4), raw])
    const node = onnx.NodeProto.encode({ op_type: 'Add', input: ['x', 'w'], output: ['y'] }).finish()
    const info = onnx.ValueInfoProto.encode({ name: 'x' }).finish()
    const start = Buffer.concat([encodeField(11, info), encodeField(1, node), tensor])
    const graph = Buffer.concat([encodeTag(7, 2), encodeVarint(start.length + elements * 4), start])
    const imports = onnx.ModelProto.encode({ ir_version: 8, opset_import: [{ version: 17 }] }).finish()
    const begin = Buffer.concat([imports, graph])
    const path = join(folder, 'big.onnx')
    sparseFile(path, begin.length + elements * 4, begin)
    const before = process.memoryUsage().rss
    const file = await loadModel(path)
    const weight = file.model.graph.initializers[0]!.tensor!
    assert.ok('source' in weight.data)
    assert.equal(await weight.data.source.read(weight.data.offset + elements * 4 - 4, 4), new Uint8Array(4))
    assert.ok(process.memoryUsage().rss - before < 50e6, 'less than 50 MB')
    await file.close()
  }))

test('sparse file: a model above 2 GiB lives through external data, and is refused inside one file', () =>
  inFolder(async folder => {
    const elements = 300_000_000
    const bytes = elements * 4
    sparseFile(join(folder, 'w.data'), bytes * 2)
    const { EXTERNAL } = onnx.TensorProto.DataLocation
    const initializer = [0, 1].map(i => {
      const entries = { location: 'w.data', offset: String(i * bytes), length: String(bytes) }
      const external_data = Object.entries(entries).map(([key, value]) => ({ key, value }))
      return { name: `w${i}`, data_type: 1, dims: [elements], data_location: EXTERNAL, external_data }
    })
    const node = { op_type: 'Add', input: ['w0', 'w1'], output: ['y'] }
    const graph = { name: 'g', node: [node], initializer, output: [{ name: 'y' }] }
    const proto = { ir_version: 8, opset_import: [{ version: 17 }], graph }
    const path = join(folder, 'large.onnx')
    writeFileSync(path, onnx.ModelProto.encode(proto).finish())
    const file = await loadModel(path)
    const { data } = file.model.graph.initializers[1]!.tensor!
    assert.ok('source' in data && data.offset === bytes)
    assert.equal(await data.source.read(2 * bytes - 4, 4), new Uint8Array(4))
    const inline = saveModel(file.model, join(folder, 'a.onnx'), { externalData: 'inline' })
    for (const action of [serializeModel(file.model), inline]) {
      const error = await errorOf(action)
      assert.match(error.message, /the model takes 2\.2 GiB, a file of this format holds less than 2 GiB/)
      assert.is(error.cure, 'store its weights as external data')
    }
    assert.equal(readdirSync(folder).sort(), ['large.onnx', 'w.data'])
    await file.close()
  }))

test('data files have offsets of any size', async () => {
  const layout = new ExternalLayout('w.data')
  const segment = { byteLength: 3 * 2 ** 30 + 1, chunks: () => [] }
  const place = (key: number) => joinSegments([layout.place(key, segment)])
  await place(1)
  const entries = Buffer.from(await place(2)).toString()
  assert.match(entries, '3221291008')
  assert.is(Buffer.from(await place(2)).toString(), entries, 'once for each key')
})

test.run()
