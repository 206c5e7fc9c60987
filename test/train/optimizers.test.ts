/** Optimizers on the CPU engine against fifty steps of torch.optim (fixtures/optim), to 1e-6. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { FlatLayout } from '../../src/train/flat.ts'
import { makeOptimizer, type OptimizerSpec } from '../../src/train/optimizers.ts'
import { StateWriter } from '../../src/train/state-writer.ts'
import { relativeError } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { row } from '../support/training.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/optim')
const TOLERANCE = 1e-6
const SIZE = 64

interface Case {
  readonly name: string
  readonly optimizer: 'sgd' | 'adam' | 'adamw'
  readonly hyperparameters: {
    readonly momentum: number
    readonly dampening: number
    readonly weight_decay: number
    readonly nesterov: boolean
    readonly betas: readonly [number, number]
    readonly eps: number
  }
  readonly groups: readonly unknown[]
}

const { cases } = JSON.parse(readFileSync(join(FOLDER, 'index.json'), 'utf8')) as { cases: Case[] }

/** What the product offers: SGD without dampening and AdamW, one group of parameters. */
const offered = cases.filter(
  ({ optimizer, hyperparameters, groups }) =>
    optimizer !== 'adam' && !(hyperparameters.dampening > 0) && groups.length === 1,
)

function specOf({ optimizer, hyperparameters: h }: Case): OptimizerSpec {
  const weightDecay = h.weight_decay
  if (optimizer === 'sgd') return { kind: 'sgd', momentum: h.momentum, nesterov: h.nesterov, weightDecay }
  return { kind: 'adamw', beta1: h.betas[0], beta2: h.betas[1], eps: h.eps, weightDecay }
}

/** A program that does nothing but the update, its gradient fed. */
async function openUpdate(spec: OptimizerSpec) {
  const op = new Builder()
  const state = new StateWriter(op)
  const layout = new FlatLayout([{ name: 'p', shape: [SIZE] }])
  const optimizer = makeOptimizer(spec)
  const grad = Value.typed('grad', 'float32', [SIZE])
  const scalars = optimizer.scalarNames.map(name => Value.typed(name, 'float32', []))
  const [theta] = state.declare('theta', layout)
  const slots = optimizer.slotNames.map(name => state.declare(name, layout)[0]!)
  const update = optimizer.update({ op, theta: theta!, grad, slots, scalars })
  state.next('theta', 0, update.theta)
  optimizer.slotNames.forEach((name, i) => state.next(name, 0, update.slots[i]!))
  const graph = new Graph('update')
  graph.inputs = [...state.inputs, grad, ...scalars]
  graph.outputs = state.outputs
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const trainer = await cpuEngine().openTrainer({
    graph,
    opset: 18,
    state: state.vectors,
    inputs: [],
    metrics: [],
  })
  return { optimizer, trainer }
}

for (const entry of offered) {
  test(`${entry.name}: fifty steps`, async () => {
    const tensors = readSafetensors(join(FOLDER, `${entry.name}.safetensors`))
    const [grads, params, lrs] = ['grads', 'params64', 'lrs'].map(key => tensors.get(key)!)
    const { optimizer, trainer } = await openUpdate(specOf(entry))
    try {
      const start = Tensor.of('float32', [SIZE], row(params!, 0).toNumbers())
      const zeros = optimizer.slotNames.map(
        name => [name, Tensor.of('float32', [SIZE], new Float32Array(SIZE))] as const,
      )
      await trainer.writeState(new Map([['theta', start], ...zeros]))
      const steps = grads!.dims[0]!
      for (let i = 0; i < steps; i++) {
        const values = optimizer.scalarsAt(i + 1, row(lrs!, i).toNumbers()[0]!)
        const scalars = optimizer.scalarNames.map(
          (name, k) => [name, Tensor.scalar('float32', values[k]!)] as const,
        )
        await trainer.steps([new Map([['grad', row(grads!, i)], ...scalars])])
        const found = (await trainer.readState()).get('theta')!.toNumbers()
        const error = relativeError(found, row(params!, i + 1).toNumbers())
        assert.ok(error <= TOLERANCE, `step ${i + 1}: relative error ${error}`)
      }
    } finally {
      await trainer.close()
    }
  })
}

test('the fixtures hold the optimizers that are offered', () => {
  assert.ok(offered.filter(({ optimizer }) => optimizer === 'sgd').length >= 6)
  assert.ok(offered.filter(({ optimizer }) => optimizer === 'adamw').length >= 5)
})

test('hyperparameters out of range are refused by name', async () => {
  const sgd = { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 } as const
  const rows: [OptimizerSpec, string][] = [
    [{ ...sgd, momentum: 1 }, 'optimizer: momentum should be in [0, 1), got 1'],
    [{ ...sgd, weightDecay: -1 }, 'optimizer: weight decay should be in [0, Infinity), got -1'],
    [{ ...sgd, momentum: 0, nesterov: true }, 'optimizer: Nesterov needs a momentum above 0'],
    [
      { kind: 'adamw', beta1: 1.5, beta2: 0.9, eps: 1e-8, weightDecay: 0 },
      'optimizer: beta1 should be in [0, 1), got 1.5',
    ],
  ]
  for (const [spec, message] of rows) assert.is((await errorOf(() => makeOptimizer(spec))).message, message)
})

test.run()
