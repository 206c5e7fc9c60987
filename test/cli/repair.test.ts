/** `average --repair` on models without batch norms. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AverageResult } from '../../src/eval/average-model.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { tensorOf } from '../../src/passes/index.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { CLASSIFIER, inFolder, json, LINES, renderLines, swa } from './support/cli.ts'

/** A convolution and a classifier of two classes. */
async function writeModel(path: string, seed: number): Promise<void> {
  const graph = new Graph('g')
  const random = Random.of(seed)
  const weight = (name: string, dims: number[]) => {
    const size = dims.reduce((a, b) => a * b, 1)
    const values = Float32Array.from({ length: size }, () => random.normal())
    const value = Value.constant(name, Tensor.of('float32', dims, values))
    graph.initializers.push(value)
    return value
  }
  const op = (opType: string, ...inputs: Value[]) => {
    const output = new Value(`${opType}_output`)
    graph.nodes.push(new Node(opType, inputs, [output]))
    return output
  }
  const x = Value.typed('x', 'float32', ['n', 3, 48, 192])
  const conv = op('Conv', x, weight('conv.weight', [4, 3, 3, 3]), weight('conv.bias', [4]))
  const pooled = op('Flatten', op('GlobalAveragePool', op('Relu', conv)))
  const y = op('Gemm', pooled, weight('fc.weight', [4, 2]), weight('fc.bias', [2]))
  y.type = { kind: 'tensor', dtype: 'float32', shape: ['n', 2] }
  graph.inputs = [x]
  graph.outputs = [y]
  await saveModel(new Model(graph, 9, new Map([['', 17]])), path)
}

async function weightsOf(path: string): Promise<Map<string, number[]>> {
  const file = await loadModel(path)
  const weights = new Map<string, number[]>()
  for (const value of file.model.graph.initializers)
    weights.set(value.name, (await tensorOf(value)!.load()).toNumbers())
  await file.close()
  return weights
}

test('channels are scaled, the classifier stays, and the graph is that of the members', () =>
  inFolder(async folder => {
    const members = [1, 2].map(k => join(folder, `step-${k}.onnx`))
    for (const [k, path] of members.entries()) await writeModel(path, k)
    const data = await renderLines(join(folder, 'lines'), 6)
    const [plain, repaired] = [join(folder, 'plain.onnx'), join(folder, 'repaired.onnx')]
    assert.is((await swa('average', ...members, '-o', plain)).code, 0)
    const {
      repaired: report,
      evaluation,
      written,
    } = await json<AverageResult>(
      ...['average', ...members, '-o', repaired, '--repair', '--data', data, '--val', data, ...LINES],
    )
    assert.equal([report!.layers.length, report!.layers[0]!.channels, report!.layers[0]!.dead], [1, 4, 0])
    assert.equal(
      report!.skipped.map(({ reason }) => reason),
      ['no other layer follows'],
    )
    assert.is(evaluation!.models.length, 3)
    assert.match(written[0]!.sha256!, /^[0-9a-f]{64}$/)
    const [before, after] = [await weightsOf(plain), await weightsOf(repaired)]
    assert.equal([...after.keys()], [...before.keys()])
    for (const name of ['fc.weight', 'fc.bias']) assert.equal(after.get(name), before.get(name))
    // One factor for all weights of a channel.
    const factors = before.get('conv.weight')!.map((w, i) => after.get('conv.weight')![i]! / w)
    factors.forEach((factor, i) => assert.ok(Math.abs(factor / factors[i - (i % 27)]! - 1) < 1e-5, String(i)))
    const mean = [0, 27, 54, 81].reduce((sum, i) => sum + factors[i]!, 0) / 4
    assert.ok(Math.abs(mean - report!.layers[0]!.factor) < 1e-5)
  }))

test('without data, with batch norms, without models there is nothing to repair by', () =>
  inFolder(async folder => {
    const model = join(folder, 'a.onnx')
    await writeModel(model, 1)
    for (const [args, message] of [
      [[model], '--repair: there are no data'],
      [[CLASSIFIER, '--data', folder], '--repair: the model has 35 batch normalizations'],
    ] as const) {
      const { code, stderr } = await swa('average', ...args, '-o', join(folder, 'out.onnx'), '--repair')
      assert.is(code, 2, stderr)
      assert.match(stderr, message)
    }
  }))

test.run()
