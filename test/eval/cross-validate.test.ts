/** One model on several engines: what agrees, what does not, and what is said about it. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkAgreement, crossValidateModels } from '../../src/eval/compare-engines.ts'
import { evaluateModels } from '../../src/eval/compare.ts'
import { describeEngineComparison } from '../../src/eval/report-engines.ts'
import { int, type Attribute } from '../../src/ir/attribute.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { writeNpy } from '../support/npy.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { MODELS } from '../support/training.ts'
import { wrongEngine } from '../support/wrong-engine.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-cross-'))
const MODEL = join(MODELS, 'bn_cnn-ts/model.onnx')
const reference = readSafetensors(join(MODELS, 'bn_cnn-ts/reference.safetensors'))
await writeNpy(join(folder, 'x.npy'), reference.get('input/input')!)
await writeNpy(join(folder, 'y.npy'), reference.get('target')!)
const OPTIONS = { models: [MODEL], data: folder, batchSize: 3, threads: 1 }

/** The CPU with one thread and no optimisation: the same numbers in another order. */
const plain: Engine = {
  ...cpuEngine(),
  name: 'plain',
  openRunner: (model, options) => cpuEngine().openRunner(model, { ...options, optimization: 'disabled' }),
}

test('engines that round otherwise agree, and measure what evaluate measures', async () => {
  const report = await crossValidateModels([cpuEngine(), plain], OPTIONS)
  const [{ engines, comparisons }] = report.models as [(typeof report.models)[0]]
  const { models } = await evaluateModels(cpuEngine(), OPTIONS)
  assert.equal(engines[0]!.metrics, models[0]!.metrics)
  assert.is(engines[1]!.samples, 8)
  const { difference, sameClass, tolerance } = comparisons[0]!.outputs[0]!
  assert.ok(difference.relative < 1e-5, String(difference.relative))
  assert.equal([report.agrees, comparisons[0]!.parting, sameClass, tolerance], [true, null, 1, 1e-3])
  assert.is(difference.elements, 80)
  checkAgreement(report)
  const text = describeEngineComparison(report)
  assert.match(text, /engine +top-1 +top-5 .*loss +time\ncpu .*\nplain /)
  assert.match(text, /plain +\S+ .* 1\.0e-3 +100\.00 % +agrees/)
})

test('an engine that computes something else fails the check, with the node, the numbers and exit code 5', async () => {
  const file = await loadModel(MODEL)
  const node = file.model.graph.nodes.filter(({ opType }) => opType === 'Conv')[1]!
  await file.close()
  const wrong = wrongEngine({ output: node.output(0).name, by: 'Add', amount: 0.75 })
  const report = await crossValidateModels([cpuEngine(), plain, wrong], OPTIONS)
  const [{ comparisons }] = report.models as [(typeof report.models)[0]]
  assert.equal(
    comparisons.map(({ engine, agrees }) => [engine, agrees]),
    [
      ['plain', true],
      ['wrong', false],
    ],
  )
  const { parting } = comparisons[1]!
  assert.equal([parting?.node, parting?.operator, parting?.cause], [node.label, 'Conv', 'node'])
  const { maxAbsolute, worst } = parting!.output.difference
  assert.ok(Math.abs(maxAbsolute - 0.75) < 1e-5, String(maxAbsolute))
  assert.ok(Math.abs(worst!.value - worst!.reference - 0.75) < 1e-5)
  const error = await errorOf(() => checkAgreement(report))
  assert.is(error.message, `engines differ beyond the tolerance: wrong on ${MODEL}`)
  assert.is(error.exitCode, 5)
  const text = describeEngineComparison(report)
  assert.match(text, `wrong parts from cpu at ${node.label} (node ${parting!.position}); inputs float32`)
  assert.match(text, 'from the same inputs it computes something else')
  assert.match(text, 'DIFFERS')
})

test('a wider tolerance lets it pass', async () => {
  const file = await loadModel(MODEL)
  const last = file.model.graph.outputs[0]!.name
  await file.close()
  const wrong = wrongEngine({ output: last, by: 'Mul', amount: 1.01 })
  const narrow = await crossValidateModels([cpuEngine(), wrong], OPTIONS)
  assert.is(narrow.agrees, false)
  const difference = narrow.models[0]!.comparisons[0]!.outputs[0]!.difference.relative
  assert.ok(Math.abs(difference - 0.01) < 1e-4, String(difference))
  assert.is((await crossValidateModels([cpuEngine(), wrong], { ...OPTIONS, tolerance: 0.02 })).agrees, true)
})

/**
 * Two inputs, three outputs, external weights and a Constant node:
 * scores = a·W + b + c, best = ArgMax(scores), and the sum that goes in.
 */
async function writeBranched(path: string): Promise<void> {
  const [a, b] = [Value.typed('a', 'float32', ['n', 4]), Value.typed('b', 'float32', ['n', 300])]
  const numbers = new Float32Array(1200).map((_, i) => Math.sin(i))
  const w = Value.constant('w', Tensor.of('float32', [4, 300], numbers))
  const c = Tensor.of('float32', [300], numbers.slice(0, 300))
  const scores = Value.typed('scores', 'float32', ['n', 300])
  const sum = Value.typed('sum', 'float32', ['n', 300])
  const best = Value.typed('best', 'int64', ['n', 1])
  const [product, shift] = [new Value('product'), new Value('shift')]
  const attribute = (name: string, value: Attribute) => ({ attributes: new Map([[name, value]]) })
  const graph = new Graph('branched')
  graph.inputs = [a, b]
  graph.initializers = [w]
  graph.outputs = [scores, best, sum]
  graph.nodes = [
    new Node('Constant', [], [shift], attribute('value', { kind: 'tensor', value: c })),
    new Node('MatMul', [a, w], [product]),
    new Node('Add', [b, shift], [sum]),
    new Node('Add', [product, sum], [scores]),
    new Node('ArgMax', [scores], [best], attribute('axis', int(1))),
  ]
  await saveModel(new Model(graph, 8, new Map([['', 18]])), path, {
    externalData: { location: 'weights.bin' },
  })
}

test('several inputs and outputs, integers, external data and Constant nodes', async () => {
  const data = join(folder, 'branched')
  const path = join(folder, 'branched.onnx')
  await writeBranched(path)
  mkdirSync(data)
  const numbers = (count: number) => new Float32Array(count).map((_, i) => Math.cos(i * 7))
  await writeNpy(join(data, 'a.npy'), Tensor.of('float32', [6, 4], numbers(24)))
  await writeNpy(join(data, 'b.npy'), Tensor.of('float32', [6, 300], numbers(1800)))
  await writeNpy(join(data, 'y.npy'), Tensor.of('int32', [6], [0, 1, 2, 3, 4, 5]))
  const options = {
    ...{ models: [path], data, batchSize: 4, threads: 1, output: 'scores' },
    dataOptions: { inputs: ['a', 'b'], targets: join(data, 'y.npy') },
  }
  const right = await crossValidateModels([cpuEngine(), plain], options)
  assert.is(right.agrees, true)
  assert.equal(
    right.models[0]!.comparisons[0]!.outputs.map(({ output, sameClass }) => [output, sameClass]),
    [
      ['scores', 1],
      ['best', null],
      ['sum', null],
    ],
  )
  for (const [output, by, amount] of [
    ['product', 'Mul', -1],
    ['sum', 'Add', NaN],
    ['scores', 'Mul', -2],
  ] as const) {
    const report = await crossValidateModels([cpuEngine(), wrongEngine({ output, by, amount })], options)
    const { parting, outputs } = report.models[0]!.comparisons[0]!
    assert.equal([parting?.output.name, parting?.cause], [output, 'node'])
    const best = outputs.find(({ output }) => output === 'best')!
    assert.ok(best.difference.mismatched > 0)
    assert.is(best.difference.relative, best.difference.mismatched / 6)
  }
})

test('an engine that fails is named', async () => {
  const failing: Engine = {
    ...cpuEngine(),
    name: 'failing',
    openRunner: () => Promise.reject(new Error('no kernel for Conv')),
  }
  const error = await errorOf(crossValidateModels([cpuEngine(), failing], OPTIONS))
  assert.is(error.message, 'engine failing: no kernel for Conv')
})

test.after(() => {
  rmSync(folder, { recursive: true })
})

test.run()
