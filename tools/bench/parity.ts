/**
 * How close training is to PyTorch on the fixture models: worst relative error of a gradient tensor (batch statistics and
 * frozen ones) and of the ten losses.
 *
 *     node --import tsx tools/bench/parity.ts
 */

import { readdirSync } from 'node:fs'
import { formatTable } from '../../src/util/format.ts'
import { relativeError } from '../../test/support/close.ts'
import {
  gradientsOf,
  MODELS,
  openTraining,
  PLAIN_SGD,
  row,
  type OpenTraining,
} from '../../test/support/training.ts'

async function worstGradient(run: OpenTraining, prefix: string): Promise<number> {
  const { reference, tensors } = run
  const { gradients } = await gradientsOf(run)
  const exempt = prefix === 'grad' ? reference.zero_gradients : []
  const errors = [...gradients].flatMap(([name, gradient]) =>
    exempt.includes(name)
      ? []
      : relativeError(gradient.toNumbers(), tensors.get(`${prefix}/${name}`)!.toNumbers()),
  )
  return Math.max(...errors)
}

async function worstLoss(run: OpenTraining): Promise<number> {
  const { reference, tensors } = run
  const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
  let worst = 0
  for (const [i, wanted] of reference.losses64.entries()) {
    const k = i % inputs.dims[0]!
    const loss = await run.step(row(inputs, k), row(targets, k), [reference.hyperparameters.lr])
    worst = Math.max(worst, Math.abs(loss - wanted) / wanted)
  }
  return worst
}

/** Opens, measures, closes. */
async function measure(
  open: Promise<OpenTraining>,
  what: (run: OpenTraining) => Promise<number>,
): Promise<number> {
  const run = await open
  try {
    return await what(run)
  } finally {
    await run.trainer.close()
  }
}

const rows = [['model', 'gradients', 'frozen', 'losses']]
for (const name of readdirSync(MODELS)) {
  const errors = [
    await measure(openTraining(name, 'train', PLAIN_SGD), run => worstGradient(run, 'grad')),
    await measure(openTraining(name, 'frozen', PLAIN_SGD), run => worstGradient(run, 'grad_eval')),
    await measure(openTraining(name, 'train'), worstLoss),
  ]
  rows.push([name, ...errors.map(error => error.toExponential(1))])
}
console.log(formatTable(rows))
