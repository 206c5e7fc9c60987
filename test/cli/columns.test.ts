/** Columns of numbers into the inputs of a model, with validation data in a table of their own, by the command line. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { saveModel } from '../../src/serde/index.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { inFolder, json } from './support/cli.ts'

/** logits = x w + z v: starts at zero, where nothing is told apart. */
const twoInputs = () =>
  buildModel({
    inputs: { x: ['n', 2], z: ['n', 1] },
    weights: { w: floats([2, 2], [0, 0, 0, 0]), v: floats([1, 2], [0, 0]) },
    nodes: [
      ['MatMul', ['x', 'w'], ['a']],
      ['MatMul', ['z', 'v'], ['b']],
      ['Add', ['a', 'b'], ['logits']],
    ],
    outputs: ['logits'],
  })

/** The class is the sign of b - 2 c; the column a is noise. */
function rows(count: number, seed: number): string {
  const random = Random.of(seed)
  const lines = Array.from({ length: count }, () => {
    const [a, b, c] = [random.normal(), random.normal(), random.normal()]
    return `${a},${b},${c},${Number(b - 2 * c > 0)}`
  })
  return ['a,b,c,label', ...lines].join('\n')
}

test('--input names the columns of --data and of --val', () =>
  inFolder(async folder => {
    const path = (name: string) => join(folder, name)
    await saveModel(twoInputs(), path('m.onnx'))
    await writeFile(path('train.csv'), rows(200, 1))
    await writeFile(path('val.csv'), rows(100, 2))
    const data = ['--data', path('train.csv'), '--val', path('val.csv'), '--input', 'x=a,b', '--input', 'z=c']
    const training = '--epochs 6 --batch-size 20 --optimizer adamw --lr 0.1 --swa-lr 0.05 --engine cpu'
    const { candidates } = await json<{
      candidates: { name: string; metrics: { top1: number; samples: number } }[]
    }>(...['finetune', path('m.onnx'), ...data, '--run', path('run'), ...training.split(' ')])
    const { top1, samples } = candidates.find(({ name }) => name === 'swa')!.metrics
    assert.is(samples, 100)
    assert.ok(top1 > 0.93, `SWA ${top1}`)
  }))

test.run()
