/** SWAG by the command line: a Gaussian of checkpoints, models drawn from it, their averaged predictions. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AverageResult } from '../../src/eval/average-model.ts'
import type { BayesReport } from '../../src/eval/bayes.ts'
import type { EvaluationReport } from '../../src/eval/compare.ts'
import { perturb } from '../averaging/support/checkpoints.ts'
import { CLASSIFIER, inFolder, json, LINES, renderLines, ROOT, swa } from './support/cli.ts'

test('one draw is measured as the model that `sample` writes; more of them are never worse than their mean loss', () =>
  inFolder(async folder => {
    const members = [1, 2, 3].map(k => join(folder, `step-${k}.onnx`))
    for (const [k, path] of members.entries()) await perturb(join(ROOT, CLASSIFIER), path, k)
    const swag = join(folder, 'swag.safetensors')
    const { output, method } = await json<AverageResult>(
      'average',
      ...members,
      '--method',
      'swag',
      '-o',
      swag,
    )
    assert.equal([output, method], ['swag', 'SWAG'])
    const data = await renderLines(join(folder, 'lines'), 6)
    const common = ['--scale', '0.05', '--seed', '3']
    const draws = join(folder, 'draw-*.onnx')
    const { models } = await json<{ models: string[] }>(
      ...['sample', swag, '--into', members[0]!, '-n', '2', '-o', draws, ...common],
    )
    assert.equal(
      models,
      [0, 1].map(k => join(folder, `draw-${k}.onnx`)),
    )
    // The copies' statistics were moved at random, too; some variances are negative.
    const calibrated = models.map(path => path.replace('draw', 'calibrated'))
    for (const [k, path] of models.entries()) {
      const { code, stderr } = await swa('recalibrate', path, '--data', data, '-o', calibrated[k]!, ...LINES)
      assert.is(code, 0, stderr)
    }
    const single = await json<EvaluationReport>('evaluate', ...calibrated, '--data', data, ...LINES)
    const losses = single.models.map(({ metrics }) => metrics.loss)
    const evaluate = (count: string, ...more: string[]) =>
      json<BayesReport>(
        ...[
          'evaluate',
          swag,
          '--swag',
          count,
          '--into',
          members[0]!,
          '--data',
          data,
          ...common,
          ...LINES,
          ...more,
        ],
      )
    const [one, two] = [await evaluate('1', '--bn-data', data), await evaluate('2', '--bn-data', data)]
    assert.ok(
      Math.abs(one.averaged.loss - losses[0]!) < 1e-5 * losses[0]!,
      `${one.averaged.loss}, ${losses[0]}`,
    )
    // Jensen: the loss of averaged probabilities is at most the average of the losses.
    assert.ok(two.averaged.loss <= (losses[0]! + losses[1]!) / 2 + 1e-6)
    assert.ok(two.averaged['ece']! >= 0)
    assert.equal(two.warnings, [])
    const plain = await evaluate('1')
    assert.match(plain.warnings.join(), /35 batch normalizations, whose statistics do not fit drawn weights/)
  }))

test('what does not go together is refused', async () => {
  for (const [args, message] of [
    [['evaluate', 'x', '--data', 'y', '--swag', '3'], '--swag: there is no model to draw'],
    [['evaluate', 'x', '--data', 'y', '--into', 'z'], '--into: it goes with --swag'],
    [
      ['sample', 'x', '--into', 'y', '-n', '2', '-o', 'z.onnx'],
      '--out: expected a * for the numbers of 2 models',
    ],
    [['sample', 'x', '--into', 'y', '-o', 'z-*.onnx'], '--out: expected a name without *'],
  ] as const) {
    const { code, stderr } = await swa(...args)
    assert.is(code, 2, stderr)
    assert.match(stderr, message)
  }
})

test.run()
