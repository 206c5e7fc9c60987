/** What is minimised. */

import type { Options } from 'yargs'
import type { RunSettings } from '../../train/options.ts'

export const OBJECTIVE_OPTIONS = {
  loss: {
    choices: ['auto', 'cross-entropy', 'binary-cross-entropy', 'mse', 'l1', 'huber', 'smooth-l1'] as const,
    default: 'auto' as const,
    group: 'Training:',
    describe: 'loss; auto looks at model and data',
  },
  'label-smoothing': { type: 'number', default: 0, group: 'Training:', describe: 'of cross-entropy' },
  'ignore-index': {
    type: 'number',
    default: -100,
    group: 'Training:',
    describe: 'class that counts nothing',
  },
  output: { type: 'string', group: 'Weights:', describe: 'model output that the loss attaches to' },
} as const satisfies Record<string, Options>

export interface ObjectiveArguments {
  readonly loss: RunSettings['loss']
  readonly labelSmoothing: number
  readonly ignoreIndex: number
  readonly output?: string
}
