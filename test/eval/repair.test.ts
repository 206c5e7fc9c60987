/** Repair: behind every repaired layer the channels have what they were to have, measured by another run of the model. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Batch } from '../../src/batchnorm/index.ts'
import { layerStatistics, planRepair, repair, type RepairContext } from '../../src/eval/repair.ts'
import { int, ints } from '../../src/ir/attribute.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { tensorOf } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'

const test = suite('eval: repair')
const engine = cpuEngine()

const batches: Batch[] = [0, 1, 2].map(k => {
  const random = Random.of(50 + k)
  const values = Float32Array.from({ length: 16 * 3 * 8 * 8 }, () => random.normal())
  return new Map([['x', Tensor.of('float32', [16, 3, 8, 8], values)]])
})
const context: RepairContext = { open: bytes => engine.openRunner(bytes, {}), batches: () => batches }

/** Convolution, transposed convolution, pooling and two linear layers; weights by a seed, times a factor. */
function model(seed: number, factor: (layer: number) => number = () => 1): Model {
  const random = Random.of(seed)
  const graph = new Graph('g')
  const weight = (name: string, dims: number[], by: number) => {
    const size = dims.reduce((a, b) => a * b, 1)
    const values = Float32Array.from({ length: size }, () => by * 0.3 * random.normal())
    const value = Value.constant(name, Tensor.of('float32', dims, values))
    graph.initializers.push(value)
    return value
  }
  let last = Value.typed('x', 'float32', ['n', 3, 8, 8])
  graph.inputs = [last]
  const add = (
    opType: string,
    weights: readonly Value[],
    attributes: Record<string, ReturnType<typeof int>> = {},
  ) => {
    const output = new Value(`${opType}_${graph.nodes.length}`)
    graph.nodes.push(
      new Node(opType, [last, ...weights], [output], { attributes: new Map(Object.entries(attributes)) }),
    )
    last = output
  }
  add('Conv', [weight('w0', [6, 3, 3, 3], factor(0)), weight('b0', [6], 1)], { pads: ints([1, 1, 1, 1]) })
  add('Relu', [])
  add('ConvTranspose', [weight('w1', [6, 4, 2, 2], factor(1)), weight('b1', [4], 1)])
  add('Relu', [])
  add('GlobalAveragePool', [])
  add('Flatten', [])
  add('Gemm', [weight('w2', [5, 4], factor(2)), weight('b2', [5], 1)], { transB: int(1) })
  add('Relu', [])
  add('Gemm', [weight('w3', [5, 3], 1), weight('b3', [3], 1)])
  last.type = { kind: 'tensor', dtype: 'float32', shape: ['n', 3] }
  graph.outputs = [last]
  return new Model(graph, 9, new Map([['', 17]]))
}

/** Mean and deviation of each channel of some values of a graph, by running it with them as outputs. */
async function channelsOf(
  source: Model,
  names: readonly string[],
): Promise<{ mean: number[]; deviation: number[] }[]> {
  const { graph } = source
  const values = names.map(name => graph.nodes.find(node => node.outputs[0]!.name === name)!.output(0))
  const outputs = graph.outputs
  graph.outputs = [...outputs, ...values.filter(value => !outputs.includes(value))]
  const { serializeModel } = await import('../../src/serde/index.ts')
  for (const value of values) value.type ??= { kind: 'tensor', dtype: 'float32', shape: null }
  const runner = await engine.openRunner(await serializeModel(source), {})
  graph.outputs = outputs
  const columns = names.map(() => new Map<number, number[]>())
  for (const batch of batches) {
    const found = await runner.run(batch, names)
    names.forEach((name, n) => {
      const tensor = found.get(name)!
      const [, channels = 1, ...rest] = tensor.dims
      const inner = rest.reduce((a, b) => a * b, 1)
      tensor.toNumbers().forEach((x, i) => {
        const c = Math.floor(i / inner) % channels
        columns[n]!.set(c, [...(columns[n]!.get(c)?.splice(0) ?? []), x])
      })
    })
  }
  await runner.close()
  return columns.map(map => {
    const lists = [...map].sort(([a], [b]) => a - b).map(([, list]) => list)
    const mean = lists.map(list => list.reduce((a, b) => a + b) / list.length)
    const deviation = lists.map((list, c) =>
      Math.sqrt(list.reduce((sum, x) => sum + (x - mean[c]!) ** 2, 0) / list.length),
    )
    return { mean, deviation }
  })
}

const LAYERS = ['Conv_0', 'ConvTranspose_2', 'Gemm_6']

function near(found: ArrayLike<number>, expected: ArrayLike<number>, what: string, tolerance = 1e-4): void {
  Array.from(found).forEach((x, i) =>
    assert.ok(
      Math.abs(x - expected[i]!) <= tolerance * (1 + Math.abs(expected[i]!)),
      `${what} ${i}: ${x}, ${expected[i]!}`,
    ),
  )
}

test('layers are found; the last one is what the model says and stays', () => {
  const { layers, skipped } = planRepair(model(1))
  assert.equal(
    layers.map(({ node, axis, channels }) => [node.outputs[0]!.name, axis, channels]),
    [
      ['Conv_0', 0, 6],
      ['ConvTranspose_2', 1, 4],
      ['Gemm_6', 0, 5],
    ],
  )
  assert.equal(skipped, [{ node: 'Gemm "Gemm_8"', reason: 'no other layer follows' }])
})

test('statistics are those of the layers, without a change to the model', async () => {
  const source = model(2)
  const statistics = await layerStatistics(source, planRepair(source), context)
  for (const [l, { mean, deviation }] of (await channelsOf(source, LAYERS)).entries()) {
    near(statistics[l]!.mean, mean, `mean of ${LAYERS[l]!}`)
    near(statistics[l]!.variance.map(Math.sqrt), deviation, `deviation of ${LAYERS[l]!}`)
  }
})

test('after repair every layer has the mean and the deviation that were wanted, one behind the other', async () => {
  // A model whose layers shrink, as averages do; wanted is what two others have on average.
  const source = model(3, layer => 0.2 + 0.1 * layer)
  const plan = planRepair(source)
  const members = [model(4), model(5)]
  const seen = await Promise.all(members.map(one => layerStatistics(one, planRepair(one), context)))
  const targets = plan.layers.map((_, l) => ({
    mean: seen[0]![l]!.mean.map((x, c) => 0.25 * x + 0.75 * seen[1]![l]!.mean[c]!),
    deviation: seen[0]![l]!.variance.map(
      (x, c) => 0.25 * Math.sqrt(x) + 0.75 * Math.sqrt(seen[1]![l]!.variance[c]!),
    ),
  }))
  const { replacements, layers } = await repair(source, plan, targets, context)
  assert.is(replacements.size, 6)
  assert.ok(layers.every(({ factor, dead }) => factor > 1 && dead === 0))
  const repaired = model(3, layer => 0.2 + 0.1 * layer)
  const originals = new Map(source.graph.initializers.map(value => [value.name, tensorOf(value)!]))
  for (const value of repaired.graph.initializers)
    value.tensor = replacements.get(originals.get(value.name)!) ?? value.tensor
  for (const [l, { mean, deviation }] of (await channelsOf(repaired, LAYERS)).entries()) {
    // Behind the first one batches of 16 were normalised by themselves.
    const tolerance = l === 0 ? 1e-5 : 0.02
    near(mean, targets[l]!.mean, `mean of ${LAYERS[l]!}`, tolerance)
    near(deviation, targets[l]!.deviation, `deviation of ${LAYERS[l]!}`, tolerance)
  }
})

test('what is as it should be stays; dead channels are left alone', async () => {
  const source = model(6)
  const bias = tensorOf(source.graph.initializers.find(({ name }) => name === 'w0'))!
  // The first channel of the first layer sees nothing.
  ;(bias.view() as Float32Array).fill(0, 0, 27)
  const plan = planRepair(source)
  const statistics = await layerStatistics(source, plan, context)
  const targets = statistics.map(({ mean, variance }) => ({ mean, deviation: variance.map(Math.sqrt) }))
  const { replacements, layers } = await repair(source, plan, targets, context)
  for (const [before, after] of replacements) near(after.toNumbers(), before.toNumbers(), 'weights', 0.01)
  assert.equal(
    layers.map(({ dead }) => dead),
    [1, 0, 0],
  )
})

test.run()
