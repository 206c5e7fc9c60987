/** From a folder of images and masks to an averaged segmentation net, by the command line. */

import { mkdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { evaluateModels } from '../../src/eval/compare.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { saveModel } from '../../src/serde/index.ts'
import type { Model } from '../../src/ir/graph.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, floats, randoms } from '../passes/support/build.ts'
import { inFolder, json } from './support/cli.ts'

const SIDE = 32
const SHAPES = [
  [200, 60, 60],
  [60, 90, 210],
] as const

/** A U-Net of one step down and up: 3x3 convolutions, a pooled middle, the way round it, and classes by a 1x1. */
function unet(): Model {
  const model = buildModel({
    inputs: { x: ['n', 3, SIDE, SIDE] },
    weights: {
      a: randoms([8, 3, 3, 3], 1),
      b: randoms([8, 8, 3, 3], 2),
      c: randoms([3, 16, 1, 1], 3),
      scales: floats([4], [1, 1, 2, 2]),
    },
    nodes: [
      ['Conv', ['x', 'a'], ['a1'], { pads: [1, 1, 1, 1] }],
      ['Relu', ['a1'], ['a2']],
      ['MaxPool', ['a2'], ['p'], { kernel_shape: [2, 2], strides: [2, 2] }],
      ['Conv', ['p', 'b'], ['b1'], { pads: [1, 1, 1, 1] }],
      ['Relu', ['b1'], ['b2']],
      ['Resize', ['b2', '', 'scales'], ['up'], { mode: 'nearest' }],
      ['Concat', ['a2', 'up'], ['both'], { axis: 1 }],
      ['Conv', ['both', 'c'], ['classes']],
    ],
    outputs: ['classes'],
  })
  model.graph.outputs[0]!.type = { kind: 'tensor', dtype: 'float32', shape: ['n', 3, SIDE, SIDE] }
  return model
}

/** Pictures of two coloured rectangles on grey noise; masks have 1 and 2 where they are, 255 on a line between. */
async function writePairs(folder: string, count: number, seed: number): Promise<void> {
  for (const name of ['images', 'masks']) mkdirSync(join(folder, name), { recursive: true })
  const random = Random.of(seed)
  for (let i = 0; i < count; i++) {
    const pixels = Uint8Array.from({ length: SIDE * SIDE * 3 }, () => 100 + random.integer(40))
    const mask = new Uint8Array(SIDE * SIDE)
    SHAPES.forEach((color, shape) => {
      const [top, left] = [2 + 15 * shape + random.integer(4), 2 + random.integer(14)]
      for (let y = top; y < top + 9; y++)
        for (let x = left; x < left + 12; x++) {
          mask[y * SIDE + x] = shape + 1
          color.forEach((level, c) => (pixels[(y * SIDE + x) * 3 + c] = level + random.integer(30)))
        }
    })
    mask.fill(255, 15 * SIDE, 16 * SIDE)
    const raw = (channels: 1 | 3) => ({ raw: { width: SIDE, height: SIDE, channels } })
    await writeFile(
      join(folder, `images/${i}.webp`),
      await sharp(pixels, raw(3)).webp({ quality: 95 }).toBuffer(),
    )
    await writeFile(
      join(folder, `masks/${i}.png`),
      await sharp(mask, raw(1)).toColourspace('b-w').png().toBuffer(),
    )
  }
}

test('a small U-Net learns from images and masks, moved together', () =>
  inFolder(async folder => {
    const [model, run, data] = ['unet.onnx', 'run', 'data'].map(name => join(folder, name)) as [
      string,
      string,
      string,
    ]
    await saveModel(unet(), model)
    await writePairs(join(data, 'train'), 32, 1)
    await writePairs(join(data, 'val'), 8, 2)
    const augment = '--flip 0.5 --rotation 10 --random-resized-crop 0.5,1 --cutmix 1'
    const training = '--epochs 16 --eval-every 16ep --batch-size 8 --optimizer adam --lr 0.02 --swa-lr 0.005'
    const options = `${augment} ${training} --engine cpu`.split(' ')
    const { candidates } = await json<{
      candidates: { name: string; metrics: { meanIou: number; samples: number } }[]
    }>(...['finetune', model, '--data', data, '--run', run, ...options])
    const of = (name: string) => candidates.find(candidate => candidate.name === name)!.metrics
    assert.is(of('swa').samples, 8)
    assert.ok(of('start').meanIou < 0.4, `untrained ${of('start').meanIou}`)
    assert.ok(of('swa').meanIou > 0.75, `SWA ${of('swa').meanIou}`)
    const plan = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8')) as {
      train: { name: string; length: number; classes: string[]; targets: object[] }
    }
    assert.equal([plan.train.length, plan.train.classes], [32, ['0', '1', '2']])
    assert.equal(plan.train.targets, [{ name: '0', kind: 'class', dims: [SIDE, SIDE] }])

    const report = await evaluateModels(cpuEngine(), {
      ...{ models: [join(run, 'model.onnx')], data: join(data, 'val'), batchSize: 32 },
    })
    assert.is(report.models[0]!.metrics['meanIou'], of('swa').meanIou)
  }))

test.run()
