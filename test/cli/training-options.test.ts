/** The options that say how a run trains, and what they become. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { groupsOf } from '../../src/cli/finetune-options/groups.ts'
import { comparisonOf, type SwaArguments } from '../../src/cli/finetune-options/swa.ts'
import {
  gradientsOf,
  learningRateOf,
  optimizerOf,
  type TrainingArguments,
} from '../../src/cli/finetune-options/training.ts'
import { errorOf } from '../support/errors.ts'

const PLAIN: TrainingArguments = {
  ...{ epochs: 10, batchSize: 32, accumulate: 1, optimizer: 'sgd', nesterov: false, schedule: 'constant' },
  ...{ lrEnd: 0, stepEvery: '0.3dur', gamma: 0.1, bn: 'train', dropout: true, recompute: false },
}
const training = (args: Partial<TrainingArguments>): TrainingArguments => ({ ...PLAIN, ...args })
const swa = (args: Partial<SwaArguments>) => ({ emaWarmup: false, select: 'swa', ...args }) as SwaArguments
const messageOf = async (run: () => unknown) => (await errorOf(run)).message

test('an optimizer takes its defaults, and what is given', () => {
  assert.equal(optimizerOf(PLAIN), { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 1e-4 })
  assert.equal(optimizerOf(training({ optimizer: 'lamb' })), {
    ...{ kind: 'lamb', beta1: 0.9, beta2: 0.999, eps: 1e-6, weightDecay: 0.01 },
  })
  assert.equal(optimizerOf(training({ optimizer: 'lion', betas: '0.95,0.98', weightDecay: 0 })), {
    ...{ kind: 'lion', beta1: 0.95, beta2: 0.98, weightDecay: 0 },
  })
  assert.equal(optimizerOf(training({ optimizer: 'rmsprop', momentum: 0.5 })), {
    ...{ kind: 'rmsprop', alpha: 0.99, eps: 1e-8, momentum: 0.5, weightDecay: 0 },
  })
  assert.is(learningRateOf(training({ optimizer: 'adam' })), 3e-4)
  assert.is(learningRateOf(training({ optimizer: 'lion', lr: 5e-5 })), 5e-5)
})

test('a hyperparameter that the optimizer does not have is refused', async () => {
  const refused = (args: Partial<TrainingArguments>) => messageOf(() => optimizerOf(training(args)))
  assert.is(await refused({ betas: '0.9,0.99' }), '--betas: sgd has none')
  assert.is(await refused({ optimizer: 'lion', eps: 1e-8 }), '--eps: lion has none')
  assert.is(await refused({ optimizer: 'adamw', momentum: 0.9 }), '--momentum: adamw has none')
  assert.is(
    await refused({ optimizer: 'adamw', nesterov: true }),
    '--nesterov: expected with sgd, found adamw',
  )
  assert.is(
    await refused({ optimizer: 'adamw', betas: '0.9' }),
    '--betas: expected two numbers such as 0.9,0.999, found "0.9"',
  )
})

test('gradients: one way of clipping, whole batches', async () => {
  assert.equal(gradientsOf(PLAIN), { accumulate: 1, clip: null })
  assert.equal(gradientsOf(training({ accumulate: 4, clipNorm: 1 })), {
    ...{ accumulate: 4, clip: { kind: 'norm', limit: 1 } },
  })
  assert.equal(gradientsOf(training({ clipValue: 0.5 })).clip, { kind: 'value', limit: 0.5 })
  assert.is(
    await messageOf(() => gradientsOf(training({ clipNorm: 1, clipValue: 1 }))),
    '--clip-norm, --clip-value: expected one of them',
  )
  assert.is(
    await messageOf(() => gradientsOf(training({ accumulate: 0 }))),
    '--accumulate: expected a positive whole number, found 0',
  )
})

test('groups: a pattern and a number, parted by the last equals sign', async () => {
  const plain = { decayAll: false, layerDecay: 1 }
  assert.equal(groupsOf({ ...plain, lrOf: ['a=b.*=10'], weightDecayOf: ['*bias=0'], headOnly: '2ep' }), {
    ...plain,
    lrOf: [{ pattern: 'a=b.*', value: 10 }],
    weightDecayOf: [{ pattern: '*bias', value: 0 }],
    headOnly: { over: '2ep', also: [] },
  })
  for (const text of ['fc', 'fc=', '=3', 'fc=x'])
    assert.is(
      await messageOf(() => groupsOf({ ...plain, lrOf: [text] })),
      `--lr-of: expected PATTERN=NUMBER such as "fc.*=10", found "${text}"`,
    )
  assert.is(
    await messageOf(() => groupsOf({ ...plain, headOnlyTrain: ['fc.*'] })),
    '--head-only-train: expected together with --head-only',
  )
})

test('averages and patience', async () => {
  assert.equal(comparisonOf(swa({})), { select: 'swa', metric: null, ema: null, patience: null })
  assert.equal(comparisonOf(swa({ ema: 0.99, emaWarmup: true, patience: 3, metric: 'loss' })), {
    ...{ select: 'swa', metric: 'loss', ema: { decay: 0.99, warmup: true }, patience: 3 },
  })
  assert.is(
    await messageOf(() => comparisonOf(swa({ emaWarmup: true }))),
    '--ema-warmup: expected together with --ema',
  )
})

test.run()
