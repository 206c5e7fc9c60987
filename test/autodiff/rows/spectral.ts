/** Fourier transforms. */

import type { GradRow, InputSpec } from '../../support/grad-row.ts'

const scalar = (value: number): InputSpec => ({ shape: [], dtype: 'int64', values: [value], constant: true })

const stft = (inputs: GradRow['inputs'], onesided: number, opset = 20): GradRow => ({
  op: 'STFT',
  inputs,
  attributes: { onesided },
  opset,
})

export const spectralRows: readonly GradRow[] = [
  { op: 'DFT', inputs: [[2, 5, 1], null, scalar(1)] },
  { op: 'DFT', inputs: [[2, 8, 3, 2], null, scalar(-2)], attributes: { inverse: 1 } },
  { op: 'DFT', inputs: [[2, 8, 2]], attributes: { inverse: 1 } },
  { op: 'DFT', inputs: [[6, 3, 2], null, scalar(0)] },
  { op: 'DFT', inputs: [[2, 8, 1], null, scalar(1)], attributes: { onesided: 1 } },
  { op: 'DFT', inputs: [[2, 7, 1], scalar(9), scalar(-2)], attributes: { onesided: 1 } },
  { op: 'DFT', inputs: [[2, 7, 2], scalar(4), scalar(1)] },
  { op: 'DFT', inputs: [[2, 7, 2], scalar(10), scalar(1)], attributes: { inverse: 1 } },
  { op: 'DFT', inputs: [[2, 5, 3, 1]], attributes: { axis: 2 }, opset: 18 },
  { op: 'DFT', inputs: [[2, 6, 1]], attributes: { onesided: 1 }, opset: 18 },
  stft([[2, 11, 1], scalar(3), [4]], 1),
  stft([[1, 10, 1], scalar(2), null, scalar(6)], 1),
  stft([[1, 9, 1], scalar(4), [5], scalar(5)], 0),
  stft([[1, 11, 1], scalar(3), [4]], 1, 18),
]
