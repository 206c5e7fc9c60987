/** Optimizers on the CPU engine against fifty steps of torch.optim and timm (fixtures/optim), to 1e-6. */

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
import { makeOptimizer, type OptimizerKind, type OptimizerSpec } from '../../src/train/optimizers.ts'
import { StateWriter } from '../../src/train/state-writer.ts'
import { writeUpdate } from '../../src/train/update.ts'
import { relativeError } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { row } from '../support/training.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/optim')
const TOLERANCE = 1e-6
const SIZE = 64

interface Hyperparameters {
  readonly lr: number
  readonly momentum: number
  readonly dampening: number
  readonly weight_decay: number
  readonly nesterov: boolean
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly alpha: number
}

interface Case {
  readonly name: string
  readonly optimizer: OptimizerKind
  readonly hyperparameters: Hyperparameters
  /** Runs of consecutive elements; what a group names overrides the hyperparameters. */
  readonly groups: readonly ({ readonly size: number } & Partial<Hyperparameters>)[]
}

const { cases } = JSON.parse(readFileSync(join(FOLDER, 'index.json'), 'utf8')) as { cases: Case[] }

/** What the product offers: everything but dampening. */
const offered = cases.filter(({ hyperparameters }) => !(hyperparameters.dampening > 0))

const SPECS: Readonly<Record<OptimizerKind, (h: Hyperparameters, weightDecay: number) => OptimizerSpec>> = {
  sgd: ({ momentum, nesterov }, weightDecay) => ({ kind: 'sgd', momentum, nesterov, weightDecay }),
  adam: (h, weightDecay) => ({ kind: 'adam', ...moments(h), weightDecay }),
  adamw: (h, weightDecay) => ({ kind: 'adamw', ...moments(h), weightDecay }),
  lamb: (h, weightDecay) => ({ kind: 'lamb', ...moments(h), weightDecay }),
  lion: ({ betas }, weightDecay) => ({ kind: 'lion', beta1: betas[0], beta2: betas[1], weightDecay }),
  rmsprop: ({ alpha, eps, momentum }, weightDecay) => ({
    kind: 'rmsprop',
    alpha,
    eps,
    momentum,
    weightDecay,
  }),
}

function moments({ betas, eps }: Hyperparameters) {
  return { beta1: betas[0], beta2: betas[1], eps }
}

/** A program that does nothing but the update, its gradients fed: a parameter for each group. */
async function openUpdate({ optimizer, hyperparameters, groups }: Case) {
  const op = new Builder()
  const state = new StateWriter(op)
  const layout = new FlatLayout(groups.map(({ size }, i) => ({ name: `p${i}`, shape: [size] })))
  const gradients = groups.map(({ size }, i) => Value.typed(`grad${i}`, 'float32', [size]))
  const weights = state.declare('theta', layout)
  const update = writeUpdate(state, layout, weights, gradients, {
    optimizer: SPECS[optimizer](hyperparameters, hyperparameters.weight_decay),
    groups: groups.map(({ lr, weight_decay }, i) => ({
      lr: (lr ?? hyperparameters.lr) / hyperparameters.lr,
      weightDecay: weight_decay ?? hyperparameters.weight_decay,
      after: 0,
      parameters: [`p${i}`],
    })),
  })
  const graph = new Graph('update')
  graph.inputs = [...state.inputs, ...gradients, ...update.inputs]
  graph.outputs = state.outputs
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const trainer = await cpuEngine().openTrainer(
    { graph, opset: 18, state: state.vectors, inputs: [], metrics: [] },
    { threads: 1 },
  )
  return { update, layout, trainer }
}

for (const entry of offered) {
  test(`${entry.name}: fifty steps`, async () => {
    const tensors = readSafetensors(join(FOLDER, `${entry.name}.safetensors`))
    const [grads, params, lrs] = ['grads', 'params64', 'lrs'].map(key => tensors.get(key)!)
    const { update, layout, trainer } = await openUpdate(entry)
    try {
      const start = Tensor.of('float32', [SIZE], row(params!, 0).toNumbers())
      const zeros = update.optimizer.slotNames.map(
        name => [name, Tensor.of('float32', [SIZE], new Float32Array(SIZE))] as const,
      )
      await trainer.writeState(new Map([['theta', start], ...zeros]))
      const steps = grads!.dims[0]!
      for (let i = 0; i < steps; i++) {
        const fed = layout.unpack(new Float32Array(row(grads!, i).toNumbers()))
        const gradients = [...fed.values()].map((grad, g) => [`grad${g}`, grad] as const)
        const scalars = update.scalarsAt(i + 1, row(lrs!, i).toNumbers()[0]!)
        await trainer.steps([new Map([...gradients, ...scalars])])
        const found = (await trainer.readState()).get('theta')!.toNumbers()
        const error = relativeError(found, row(params!, i + 1).toNumbers())
        assert.ok(error <= TOLERANCE, `step ${i + 1}: relative error ${error}`)
      }
    } finally {
      await trainer.close()
    }
  })
}

test('the fixtures hold the optimizers that are offered, and groups', () => {
  const least: Record<OptimizerKind, number> = { sgd: 6, adamw: 5, adam: 2, rmsprop: 2, lion: 2, lamb: 3 }
  for (const [kind, count] of Object.entries(least))
    assert.ok(offered.filter(({ optimizer }) => optimizer === kind).length >= count, kind)
  assert.is(offered.filter(({ groups }) => groups.length > 1).length, 3)
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
