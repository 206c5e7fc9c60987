/** The options of an ordinary short run, for tests to change what they are about. */

import type { FinetuneOptions } from '../../src/train/options.ts'

export const PLAIN_RUN: Omit<FinetuneOptions, 'model' | 'data' | 'run' | 'epochs'> = {
  dataOptions: { holdOut: 0.2, seed: 0 },
  augment: {},
  batchSize: 32,
  seed: 1,
  schedule: {
    lr: 0.05,
    stepping: 'batch',
    base: { kind: 'constant' },
    swa: { start: '1ep', rate: { kind: 'constant', lr: 0.02 } },
  },
  settings: {
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 },
    loss: 'auto',
    labelSmoothing: 0,
    ignoreIndex: -100,
    batchNorm: 'train',
    bnMode: 'exact',
    dropout: true,
    select: 'swa',
    patterns: {},
  },
  evalEvery: '1ep',
}
