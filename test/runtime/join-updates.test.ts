/** Joined updates: how many nodes are left, and the same bytes as without, on the CPU provider. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { cloneGraph } from '../../src/passes/index.ts'
import { joinUpdates } from '../../src/runtime/join-updates.ts'
import { serializeLowered, type Program, type StateVector } from '../../src/runtime/program.ts'
import { sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { FlatLayout } from '../../src/train/flat.ts'
import { makeOptimizer, type OptimizerSpec } from '../../src/train/optimizers.ts'
import { StateWriter } from '../../src/train/state-writer.ts'
import { writeUpdate, type UpdateOptions } from '../../src/train/update.ts'
import { cpuLoopEngine } from '../support/cpu-loop.ts'

const input = (name: string, shape: Shape) => Value.typed(name, 'float32', shape)

/** A program whose state is made by `write`, from the names of its vectors. */
class Writer {
  readonly op = new Builder([])
  readonly inputs: Value[] = []
  readonly steps: Value[] = []
  readonly outputs: Value[] = []
  readonly metrics: string[] = []
  readonly #vectors = new Map<string, { inputs: Value[]; outputs: Value[] }>()

  declare(name: string, shapes: readonly Shape[]): readonly Value[] {
    const inputs = shapes.map((shape, i) => input(`${name}/${i}`, shape))
    this.inputs.push(...inputs)
    this.#vectors.set(name, { inputs, outputs: [] })
    return inputs
  }

  step(name: string, shape: Shape): Value {
    const value = input(name, shape)
    this.steps.push(value)
    return value
  }

  next(name: string, value: Value): void {
    this.#vectors.get(name)!.outputs.push(value)
    this.outputs.push(value)
  }

  program(): Program {
    const graph = new Graph('updates')
    graph.inputs = [...this.inputs, ...this.steps]
    graph.outputs = this.outputs
    graph.nodes = this.op.nodes
    graph.initializers = this.op.initializers
    const state = [...this.#vectors].map(([name, { inputs, outputs }]): StateVector => {
      let length = 0
      const parts = inputs.map(({ name, shape }, i) => {
        const offset = length
        length += sizeOf(shape)
        return { input: name, output: outputs[i]!.name, offset, shape }
      })
      return { name, length, parts }
    })
    const inputs = this.steps.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
    return { graph, opset: 18, state, inputs, metrics: this.metrics }
  }
}

/** The optimizer's update of parameters whose gradients are fed; half of them are products, as those of batch norms are. */
function optimizerProgram(spec: OptimizerSpec, shapes: readonly Shape[]): Program {
  const writer = new Writer()
  const { op } = writer
  const optimizer = makeOptimizer(spec)
  const thetas = writer.declare('theta', shapes)
  const slots = optimizer.slotNames.map(name => writer.declare(name, shapes))
  const scalars = optimizer.scalarNames.map(name => writer.step(name, []))
  thetas.forEach((theta, i) => {
    const fed = writer.step(`grad/${i}`, theta.shape)
    const grad = i % 2 === 0 ? fed : op.Mul(fed, op.Exp(theta))
    const update = optimizer.update({ op, theta, grad, slots: slots.map(slot => slot[i]!), scalars })
    writer.next('theta', update.theta)
    optimizer.slotNames.forEach((name, k) => writer.next(name, update.slots[k]!))
  })
  return writer.program()
}

/** Running statistics, whose factor differs from one to the next. */
function statisticsProgram(shapes: readonly Shape[]): Program {
  const writer = new Writer()
  const { op } = writer
  writer.declare('bn', shapes).forEach((running, i) => {
    const kept = op.Mul(running, op.scalar(0.9))
    const batch = writer.step(`batch/${i}`, running.shape)
    writer.next('bn', op.Add(kept, op.Mul(batch, op.scalar((0.1 * (i + 3)) / (i + 2)))))
  })
  return writer.program()
}

function joined(program: Program): Graph {
  const graph = cloneGraph(program.graph)
  joinUpdates(program, graph)
  return graph
}

function countsOf(graph: Graph): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { opType } of graph.nodes) counts[opType] = (counts[opType] ?? 0) + 1
  return counts
}

/** Every number different, all of them positive: second moments are. */
function filled(shape: Shape, seed: number): Tensor {
  const numbers = Array.from({ length: sizeOf(shape) }, (_, i) => 0.1 + Math.abs(Math.sin(seed * 31 + i)))
  return Tensor.of('float32', shape, numbers)
}

/** Asserts that a step gives the same bytes with and without joining. */
async function assertSameStep(program: Program): Promise<void> {
  const results: Map<string, Uint8Array>[] = []
  for (const graph of [program.graph, joined(program)]) {
    const model = await serializeLowered({ graph, opset: program.opset })
    const runner = await cpuLoopEngine().openRunner(model)
    const feeds = graph.inputs.map(({ name, shape }, i) => [name, filled(shape, i)] as const)
    const outputs = await runner.run(new Map(feeds))
    results.push(new Map([...outputs].map(([name, { data }]) => [name, data as Uint8Array])))
    await runner.close()
  }
  assert.equal(results[1], results[0])
}

const SHAPES: readonly Shape[] = [
  ...new Array<Shape>(5).fill([3]),
  ...new Array<Shape>(4).fill([2, 4]),
  ...new Array<Shape>(2).fill([5]),
  ...new Array<Shape>(34).fill([2]),
]

/** A whole update as training programs write it, whose gradients are fed. */
function updateProgram(options: UpdateOptions, shapes: readonly Shape[]): Program {
  const op = new Builder([])
  const state = new StateWriter(op)
  const layout = new FlatLayout(shapes.map((shape, i) => ({ name: String(i), shape })))
  const weights = state.declare('theta', layout)
  const gradients = shapes.map((shape, i) => input(`grad/${i}`, shape))
  const update = writeUpdate(state, layout, weights, gradients, options)
  const graph = new Graph('updates')
  const inputs = [...gradients, ...update.inputs]
  graph.inputs = [...state.inputs, ...inputs]
  graph.outputs = [...state.outputs, ...update.metrics.values()]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const metrics = [...update.metrics.values()].map(({ name }) => name)
  const fed = inputs.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
  return { graph, opset: 18, state: state.vectors, inputs: fed, metrics }
}

/** Optimizer -> element-wise nodes of a joined group. */
const OPTIMIZERS: readonly [name: string, spec: OptimizerSpec, nodes: number][] = [
  ['SGD', { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 }, 2],
  [
    'SGD with momentum and weight decay',
    { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0.1 },
    6,
  ],
  ['SGD after Nesterov', { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.1 }, 8],
  ['AdamW', { kind: 'adamw', beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1 }, 14],
  ['Lion', { kind: 'lion', beta1: 0.9, beta2: 0.99, weightDecay: 0.1 }, 10],
]

for (const [name, spec, elementwise] of OPTIMIZERS) {
  test(`${name}: one chain for each group of equal shapes`, async () => {
    const program = optimizerProgram(spec, SHAPES)
    const slots = makeOptimizer(spec).slotNames.length
    const counts = countsOf(joined(program))
    const sum = Object.entries(counts).reduce((total, [opType, count]) => {
      return ['Concat', 'Split', 'Exp'].includes(opType) ? total : total + count
    }, 0)
    // Of [3], of [2,4], and two of seventeen of [2]; those of [5] are too few.
    const groups = 4
    const products = Math.floor(SHAPES.length / 2)
    assert.is(sum, (groups + 2) * elementwise + products)
    assert.is(counts['Concat'], groups * (2 + slots))
    assert.is(counts['Split'], groups * (1 + slots))
    await assertSameStep(program)
  })
}

test('running statistics: factors that differ are a column', async () => {
  const program = statisticsProgram([...new Array<Shape>(6).fill([3]), ...new Array<Shape>(4).fill([2, 2])])
  const graph = joined(program)
  assert.equal(countsOf(graph), { Mul: 4, Concat: 4, Add: 2, Split: 2 })
  const columns = graph.initializers.filter(({ tensor }) => tensor!.dtype === 'float32' && tensor!.size > 1)
  assert.equal(
    columns.map(({ shape }) => shape),
    [[18], [8, 1]],
  )
  await assertSameStep(program)
})

test('inputs and outputs stay what they are, and large parts keep their nodes', () => {
  const program = optimizerProgram(OPTIMIZERS[0]![1], [...SHAPES, ...new Array<Shape>(4).fill([1024, 1024])])
  const graph = joined(program)
  const names = (values: readonly Value[]) => values.map(value => value.toString())
  assert.equal(names(graph.inputs), names(program.graph.inputs))
  assert.equal(names(graph.outputs), names(program.graph.outputs))
  assert.is(graph.nodes.filter(({ opType, outputs }) => opType === 'Sub' && outputs[0]!.rank === 2).length, 5)
})

/** Two groups whose parameters alternate, with rates and weight decays of their own. */
const GROUPS = [0, 1].map(rest => ({
  ...{ lr: rest === 0 ? 1 : 0.1, weightDecay: rest === 0 ? 0.1 : 0.2, after: 0 },
  parameters: [...SHAPES.keys()].filter(i => i % 2 === rest).map(String),
}))
const SGD: OptimizerSpec = { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0.1 }

/** Nodes of a joined group with [3] parts, and of one part of [5], which stays alone. */
const UPDATES: readonly [name: string, options: UpdateOptions, joined: number, alone: number][] = [
  ['parameter groups', { optimizer: SGD, groups: GROUPS }, 6, 6],
  ['gradients clipped by value', { optimizer: SGD, clip: { kind: 'value', limit: 0.2 } }, 8, 8],
  // Sums of gradients and three choices between old and new more; the average takes three nodes.
  [
    'accumulation and average',
    { optimizer: SGD, groups: GROUPS, accumulate: 3, ema: { decay: 0.9, warmup: false } },
    6 + 2 + 3 + 3,
    6 + 2 + 3 + 3,
  ],
]

for (const [name, options, joinedNodes, alone] of UPDATES) {
  test(`${name}: joined, with the same bytes`, async () => {
    const program = updateProgram(options, SHAPES)
    const counts = countsOf(joined(program))
    const shared = ['Concat', 'Split', 'Gather', 'Greater']
    const sum = Object.entries(counts).reduce((n, [op, count]) => (shared.includes(op) ? n : n + count), 0)
    assert.is(sum, 4 * joinedNodes + 2 * alone)
    await assertSameStep(program)
  })
}

test('a norm over all gradients leaves their sums alone, and joins the rest', async () => {
  const program = updateProgram({ optimizer: SGD, clip: { kind: 'norm', limit: 0.5 }, accumulate: 2 }, SHAPES)
  const counts = countsOf(joined(program))
  // The sum of each part; momentum and weights of four groups, and of two parts that stay alone.
  assert.is(counts['Where'], SHAPES.length + 2 * (4 + 2))
  assert.is(counts['Add'], SHAPES.length + 2 * (4 + 2) + 1)
  await assertSameStep(program)
})

test('what others read is not joined away', async () => {
  const writer = new Writer()
  const { op } = writer
  for (const theta of writer.declare('theta', new Array<Shape>(4).fill([2]))) {
    const next = op.Mul(theta, op.scalar(0.5))
    writer.next('theta', next)
    const norm = op.ReduceSum(next, [0], false)
    writer.outputs.push(norm)
    writer.metrics.push(norm.name)
  }
  const program = writer.program()
  assert.equal(countsOf(joined(program)), countsOf(program.graph))
  await assertSameStep(program)
})

test.run()
