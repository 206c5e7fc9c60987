/** Groups, clipping, accumulation, moving average and a head-only phase against PyTorch's loop (fixtures/update). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import type { Engine, StepMetrics } from '../../src/runtime/engine.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { groupsWithin } from '../../src/train/groups.ts'
import { initialState } from '../../src/train/initial-state.ts'
import type { OptimizerSpec } from '../../src/train/optimizers.ts'
import { PhasedTrainer, type Phase } from '../../src/train/phases.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { DEFAULT_TRAINING } from '../../src/train/training-settings.ts'
import { emaDecayAt, writeUpdate, type UpdateOptions } from '../../src/train/update.ts'
import { planWeights } from '../../src/train/weight-plan.ts'
import { movingAverage } from '../../src/train/weights.ts'
import { relativeError } from '../support/close.ts'
import { cpuLoopEngine } from '../support/cpu-loop.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { MODELS, row, type Reference } from '../support/training.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/update')
const TOLERANCE = 1e-4

interface Case {
  readonly optimizer: 'sgd' | 'adamw'
  readonly hyper: {
    readonly lr: number
    readonly momentum: number
    readonly weight_decay: number
    readonly betas: readonly [number, number]
    readonly eps: number
  }
  readonly clip_norm?: number
  readonly clip_value?: number
  readonly ema: number
  readonly warmup: boolean
  readonly head_steps: number
}

const index = JSON.parse(readFileSync(join(FOLDER, 'index.json'), 'utf8')) as {
  readonly model: string
  readonly accumulate: number
  readonly head_factor: number
  readonly cases: Readonly<Record<string, Case>>
}

function specOf({ optimizer, hyper }: Case): OptimizerSpec {
  const weightDecay = hyper.weight_decay
  if (optimizer === 'sgd') return { kind: 'sgd', momentum: hyper.momentum, nesterov: false, weightDecay }
  return { kind: 'adamw', beta1: hyper.betas[0], beta2: hyper.betas[1], eps: hyper.eps, weightDecay }
}

/** The programs of a case, as a session makes them. */
async function openCase(entry: Case, engine: Engine) {
  const folder = join(MODELS, index.model)
  const model = await deserializeModel(readFileSync(join(folder, 'model.onnx')), index.model)
  const { batch } = JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8')) as Reference
  const prepare = () => prepareTraining(cpuEngine(), model, { batchSize: batch })
  const graph = await prepare()
  const { accumulate } = index
  const options: UpdateOptions = {
    optimizer: specOf(entry),
    clip:
      entry.clip_norm === undefined
        ? { kind: 'value', limit: entry.clip_value! }
        : { kind: 'norm', limit: entry.clip_norm },
    accumulate,
    ema: { decay: entry.ema, warmup: entry.warmup },
  }
  const settings = {
    ...DEFAULT_TRAINING,
    lrOf: [{ pattern: 'fc.*', value: index.head_factor }],
    headOnly: { over: '', also: [] },
    optimizer: options.optimizer,
  }
  const { groups, headOnly } = planWeights(
    graph.model.graph,
    graph.parameters,
    () => graph.heads.map(({ logits }) => logits),
    settings as unknown as Parameters<typeof planWeights>[3],
    entry.head_steps,
  )
  const common = { ...options, loss: { kind: 'cross-entropy' } as const, dropout: false }
  const phases: Phase[] = []
  if (headOnly) {
    assert.equal([...headOnly.weights].sort(), ['fc.bias', 'fc.weight'])
    const head = new Set(headOnly.weights)
    const another = await prepare()
    const parameters = another.parameters.filter(({ name }) => head.has(name))
    const within = { groups: groupsWithin(groups, head), batchNorm: 'frozen' } as const
    const training = buildProgram({ ...another, parameters }, { ...common, ...within })
    phases.push({ until: headOnly.steps * accumulate, training })
  }
  const training = buildProgram(graph, { ...common, groups, batchNorm: 'train' })
  const trainer = new PhasedTrainer(engine, [...phases, { until: Infinity, training }], { threads: 1 })
  const data = readSafetensors(join(folder, 'reference.safetensors'))
  return { training, trainer, start: await initialState(graph, training), data, input: graph.inputs[0]!.name }
}

/** Engines, and the batches that each is sent at once: accumulation ends within chunks, and runs over their ends. */
const ENGINES: readonly [engine: Engine, chunk: number][] = [
  [cpuEngine(), 1],
  [cpuLoopEngine(), 3],
]

const rows = Object.entries(index.cases).flatMap(([name, entry]) =>
  ENGINES.map(([engine, chunk]) => ({ name, entry, engine, chunk })),
)

for (const { name, entry, engine, chunk } of rows) {
  test(`${name}, ${chunk} at once: the state after PyTorch's loop`, async () => {
    const expected = readSafetensors(join(FOLDER, `${name}.safetensors`))
    const { training, trainer, start, data, input } = await openCase(entry, engine)
    try {
      const [inputs, targets] = [data.get('steps/input')!, data.get('steps/target')!]
      const [losses, norms] = [expected.get('losses')!.toNumbers(), expected.get('norms')?.toNumbers()]
      await trainer.enter(0)
      await trainer.writeState(start)
      const found: StepMetrics[] = []
      for (let i = 0; i < losses.length; i = found.length) {
        await trainer.enter(i)
        // The state may be taken out and put back between any two batches.
        if (i === 3) await trainer.writeState(await trainer.readState())
        const feedsOf = (k: number) =>
          new Map([
            [input, row(inputs, k)],
            [trainer.training.targets[0]!.name, row(targets, k)],
            ...trainer.training.scalarsAt(k + 1, entry.hyper.lr),
          ])
        const count = Math.min(chunk, losses.length - i, trainer.until - i)
        found.push(...(await trainer.steps(Array.from({ length: count }, (_, k) => feedsOf(i + k)))))
      }
      for (const [i, wanted] of losses.entries()) {
        const metrics = found[i]
        const loss = metrics!.get('loss')!
        assert.ok(Math.abs(loss - wanted) <= TOLERANCE * wanted, `loss ${i} is ${loss}, PyTorch ${wanted}`)
        const ends = (i + 1) % index.accumulate === 0
        if (!norms || !ends) continue
        const [norm, of] = [metrics!.get('grad_norm')!, norms[(i + 1) / index.accumulate - 1]!]
        assert.ok(Math.abs(norm - of) <= TOLERANCE * of, `norm ${i} is ${norm}, PyTorch ${of}`)
      }
      const state = await trainer.readState()
      const compare = (prefix: string, found: ReadonlyMap<string, Tensor>) => {
        for (const [weight, tensor] of found) {
          const error = relativeError(tensor.toNumbers(), expected.get(`${prefix}/${weight}`)!.toNumbers())
          assert.ok(error <= TOLERANCE, `${prefix} ${weight}: relative error ${error}`)
        }
      }
      const unpacked = (values: Float32Array) => training.parameters.unpack(values)
      compare('param', unpacked(state.get('theta')!.view() as Float32Array))
      compare('ema', unpacked(movingAverage(training, state)!.theta))
      compare('buffer', training.statistics.unpack(state.get('bn')!.view() as Float32Array))
    } finally {
      await trainer.close()
    }
  })
}

test('the warm-up of the moving average is that of timm', () => {
  // ModelEmaV3(decay=0.9, use_warmup=True).get_decay of the update counts 1, 2, 3, 10, 100.
  const wanted = [0, 0.3700394750525634, 0.519250143230864, 0.7845565309968117, 0.9]
  const found = [1, 2, 3, 10, 100].map(step => emaDecayAt({ decay: 0.9, warmup: true }, step))
  found.forEach((decay, i) => {
    assert.ok(Math.abs(decay - wanted[i]!) < 1e-15, `${decay} instead of ${wanted[i]!}`)
  })
})

test('settings out of range are refused', () => {
  const refused = (options: Partial<UpdateOptions>, message: RegExp) => {
    const write = () =>
      writeUpdate(undefined as never, undefined as never, [], [], {
        optimizer: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 },
        ...options,
      })
    assert.throws(write, (error: Error) => message.test(error.message))
  }
  refused({ clip: { kind: 'norm', limit: 0 } }, /^clipping: the limit should be above 0, found 0$/)
  refused({ accumulate: 1.5 }, /^accumulate: expected a positive whole number of batches, found 1\.5$/)
  refused({ ema: { decay: 1, warmup: false } }, /^ema: the decay should be in \[0, 1\), found 1$/)
})

test.run()
