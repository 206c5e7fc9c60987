/** load -> save keeps the meaning of every field and the bytes of every weight, for every model that we have. */

import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { printGraph } from '../../src/ir/print.ts'
import { deserializeModel, loadModel, saveModel, serializeModel } from '../../src/serde/index.ts'
import { scanModel } from '../../src/serde/scan.ts'
import { onnx } from '../../src/serde/generated/onnx.js'
import { FileSource } from '../../src/tensor/file-source.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { openModel } from '../support/ort.ts'
import { differences } from './support/compare.ts'
import { allModels, FIXTURES, inFolder, OCR_MODELS } from './support/files.ts'

const { GRAPH } = onnx.AttributeProto.AttributeType
const models = allModels()

test('there are models to test', () => {
  assert.ok(models.length >= 10, `found ${models.length}`)
})

for (const path of models) {
  const name = path.split('/').slice(-2).join('/')

  test(`${name}: loaded from disk and saved`, () =>
    inFolder(async folder => {
      const file = await loadModel(path)
      const out = join(folder, basename(path))
      await saveModel(file.model, out)
      const before = { bytes: readFileSync(path), folder: dirname(path) }
      const found = differences(before, { bytes: readFileSync(out), folder })
      assert.equal(found, [])
      const again = await loadModel(out)
      assert.is(printGraph(again.model.graph), printGraph(file.model.graph))
      await again.close()
      await file.close()
    }))
}

for (const path of models.filter(path => [FIXTURES, OCR_MODELS].includes(dirname(path)))) {
  test(`${basename(path)}: saved with all weights inside, or all outside, and serialized twice`, () =>
    inFolder(async folder => {
      const file = await loadModel(path)
      const before = { bytes: readFileSync(path), folder: dirname(path) }
      const inline = await serializeModel(file.model)
      assert.equal(differences(before, { bytes: inline, folder }), [])
      assert.ok(Buffer.compare(inline, await serializeModel(file.model)) === 0, 'same bytes each time')
      const out = join(folder, 'out.onnx')
      await saveModel(file.model, out, { externalData: { location: 'w.bin', threshold: 0 } })
      assert.equal(differences(before, { bytes: readFileSync(out), folder }), [])
      const outside = await loadModel(out)
      assert.ok(Buffer.compare(inline, await serializeModel(outside.model)) === 0, 'back inside')
      const inner = await deserializeModel(inline)
      assert.ok(Buffer.compare(inline, await serializeModel(inner)) === 0, 'from memory')
      await outside.close()
      await file.close()
    }))
}

test('infos of one value in several lists are kept apart', async () => {
  const info = (name: string, doc_string: string, dim: string) => {
    const shape = { dim: [{ dim_param: dim }] }
    return { name, doc_string, type: { tensor_type: { elem_type: 1, shape } } }
  }
  const body = (doc: string) => ({ name: 'b', node: [], output: [info('h', doc, doc)] })
  const branch = (name: string) => ({ name, type: GRAPH, g: body(name) })
  const node = [
    { op_type: 'Relu', input: ['x'], output: ['h'] },
    { op_type: 'If', input: ['c'], output: ['y'], attribute: [branch('then_branch'), branch('else_branch')] },
  ]
  const graph = {
    ...{ name: 'g', node, input: [info('x', 'in', 'a'), { name: 'c' }] },
    output: [
      info('y', 'first', 'b'),
      info('x', 'out', 'c'),
      info('y', 'second', 'd'),
      info('x', 'again', 'e'),
    ],
    initializer: [{ name: 'w', dims: [1], data_type: 1, raw_data: new Uint8Array(4) }],
    value_info: [info('w', 'weight', 'f'), info('y', 'third', 'g'), info('x', 'fourth', 'h')],
  }
  const opset_import = [{ version: 17 }]
  const bytes = onnx.ModelProto.encode({ ir_version: 8, opset_import, graph }).finish()
  const model = await deserializeModel(bytes)
  assert.equal(model.graph.initializers[0]!.shape, [1])
  const folder = ''
  assert.equal(differences({ bytes, folder }, { bytes: await serializeModel(model), folder }), [])
})

test('a scan of a file and of memory give the same outline', async () => {
  for (const path of models.filter(path => !path.includes('/ops/'))) {
    const source = await FileSource.open(path)
    const fromFile = await scanModel(source, 'refuse')
    const fromMemory = await scanModel(new MemorySource(readFileSync(path)), 'refuse')
    assert.ok(Buffer.compare(fromFile.outline, fromMemory.outline) === 0, path)
    assert.is(fromFile.tensors.length, fromMemory.tensors.length)
    await source.close()
  }
})

const PICTURES: Record<string, number[]> = {
  'ch_ppocr_mobile_v2.0_cls_infer.onnx': [2, 3, 48, 192],
  'ch_PP-OCRv4_det_infer.onnx': [1, 3, 64, 96],
  'ch_PP-OCRv4_rec_infer.onnx': [1, 3, 48, 96],
}

for (const [name, dims] of Object.entries(PICTURES)) {
  test(`${name}: onnxruntime gives equal outputs before and after`, async () => {
    const path = join(OCR_MODELS, name)
    process.env.ORT_DISABLE_TELEMETRY = '1'
    const ort = await import('onnxruntime-node')
    const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 3 })
    const size = dims.reduce((a, b) => a * b, 1)
    const pixels = Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.37) * 0.5)
    const [input, output] = [session.inputNames[0]!, session.outputNames[0]!]
    const expected = await session.run({ [input]: new ort.Tensor('float32', pixels, dims) })
    const file = await loadModel(path)
    const copy = await openModel(file.model)
    const found = await copy.run({ [input]: Tensor.of('float32', dims, pixels) })
    assert.equal(found[output]!.dims, [...expected[output]!.dims])
    assert.equal(found[output]!.view(), expected[output]!.data)
    await copy.close()
    await file.close()
    await session.release()
  })
}

test.run()
