/** Softmax and LogSoftmax. */

import type { GradRow } from '../../support/grad-row.ts'

export const softmaxRows: readonly GradRow[] = ['Softmax', 'LogSoftmax'].flatMap(op => [
  { op, inputs: [[2, 3, 4]] },
  ...[0, 1, 2, -1, -2].map(axis => ({ op, attributes: { axis }, inputs: [[2, 3, 4]] })),
])
