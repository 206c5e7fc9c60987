/** MixUp and CutMix: timm's numbers on fixed shares, closed forms of what chance draws, refusals. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  blended,
  cutLayout,
  cutRegion,
  drawMix,
  mixBatch,
  mixedClasses,
  pasted,
} from '../../src/data/augment/mix.ts'
import type { Batch } from '../../src/data/loader.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { assertClose } from '../support/close.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { assertFails, FIXTURES } from './files.ts'
import { RAW } from './make.ts'

const reference = readSafetensors(join(FIXTURES, 'augment.safetensors'))
const x = reference.get('mix/x')!
const labels = reference.get('mix/labels')!
const numbers = (name: string) => reference.get(name)!.toNumbers()

test("MixUp: timm's numbers", () => {
  assertClose(blended(x, 0.3).toNumbers(), numbers('mix/mixup,0.3/x'), { absolute: 1e-6 }, 'x')
  assertClose(
    mixedClasses('y', labels, 3, 0.3).toNumbers(),
    numbers('mix/mixup,0.3/target'),
    { relative: 1e-6 },
    'y',
  )
})

test("CutMix: timm's numbers", () => {
  const [top, bottom, left, right] = numbers('mix/cutmix,0.37/box') as [number, number, number, number]
  const region = { top, left, height: bottom - top, width: right - left }
  const layout = cutLayout('x', x.dims, RAW)
  assert.equal(pasted(x, layout, region).toNumbers(), numbers('mix/cutmix,0.37/x'))
  const kept = 1 - (region.height * region.width) / (9 * 8)
  const target = mixedClasses('y', labels, 3, kept)
  assertClose(target.toNumbers(), numbers('mix/cutmix,0.37/target'), { relative: 1e-6 }, 'y')
  const last = { ...RAW, layout: 'NHWC' } as const
  const small = Tensor.of('float32', [2, 1, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8])
  const box = { top: 0, left: 1, height: 1, width: 1 }
  assert.equal(pasted(small, cutLayout('x', small.dims, last), box).toNumbers(), [1, 2, 7, 8, 5, 6, 3, 4])
})

test('shares are of Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1))', () => {
  for (const alpha of [0.2, 1, 3]) {
    const random = Random.of(2, alpha * 10)
    const shares = Array.from({ length: 20_000 }, () => random.beta(alpha, alpha))
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length
    const variance = shares.reduce((sum, share) => sum + (share - 0.5) ** 2, 0) / shares.length
    const expected = 1 / (4 * (2 * alpha + 1))
    assert.ok(Math.abs(mean - 0.5) < 5 * Math.sqrt(expected / shares.length), `mean ${mean} of ${alpha}`)
    assert.ok(Math.abs(variance / expected - 1) < 0.05, `variance ${variance}, expected ${expected}`)
  }
})

test('which batches are mixed, and how', () => {
  const random = Random.of(4)
  const count = { mixup: 0, cutmix: 0, none: 0 }
  for (let i = 0; i < 10_000; i++) {
    const { kind, share } = drawMix(
      { mixup: 0.8, cutmix: 1, probability: 0.6, switchProbability: 0.25 },
      random,
    )
    count[share === 1 ? 'none' : kind]++
  }
  const expected = { none: 0.4, mixup: 0.45, cutmix: 0.15 }
  for (const [kind, share] of Object.entries(expected)) {
    const deviation = Math.sqrt(10_000 * share * (1 - share))
    assert.ok(
      Math.abs(count[kind as keyof typeof count] - 10_000 * share) < 5 * deviation,
      `${kind} ${JSON.stringify(count)}`,
    )
  }
  const one = { mixup: 0, cutmix: 1, probability: 1, switchProbability: 0 }
  assert.is(drawMix(one, random).kind, 'cutmix')
})

test('a box has the area 1 - share where it lies inside, and never leaves the image', () => {
  const random = Random.of(6)
  for (let i = 0; i < 1000; i++) {
    const { top, left, height, width } = cutRegion({ height: 32, width: 20 }, 0.75, random)
    assert.ok(top >= 0 && left >= 0 && top + height <= 32 && left + width <= 20)
    assert.ok(height <= 16 && width <= 10 && height >= 8 && width >= 5, `${height}x${width}`)
  }
})

function batchOf(inputs: Record<string, Tensor>, target = labels): Batch {
  const rest = { size: 4, index: 3, epoch: 1, sampleIndices: new Uint32Array(4) }
  return { inputs: new Map(Object.entries(inputs)), targets: new Map([['0', target]]), ...rest }
}

const mix = { mixup: 0.8, cutmix: 0, probability: 1, switchProbability: 0.5 }
const options = { mix, seed: 5, classes: 4, transforms: { '0': RAW } }

test('the same seed, epoch and place mix alike; classes are those of the model', () => {
  const [a, b, c] = [5, 5, 6].map(seed => mixBatch(batchOf({ '0': x }), { ...options, seed }))
  assert.equal(a!.inputs.get('0')!.toNumbers(), b!.inputs.get('0')!.toNumbers())
  assert.not.equal(a!.inputs.get('0')!.toNumbers(), c!.inputs.get('0')!.toNumbers())
  const target = a!.targets.get('0')!
  assert.equal([target.dtype, target.dims], ['float32', [4, 4]])
  for (let row = 0; row < 4; row++) {
    const sum = target
      .toNumbers()
      .slice(row * 4, row * 4 + 4)
      .reduce((total, value) => total + value, 0)
    assert.ok(Math.abs(sum - 1) < 1e-6)
  }
})

test('what cannot be mixed is refused', async () => {
  const soft = Tensor.of('float32', [4, 3], new Float32Array(12))
  const tokens = Tensor.of('int64', [4, 2], new BigInt64Array(8))
  await assertFails(
    () => mixBatch(batchOf({ '0': x }, soft), options),
    'mixing: it needs one class a sample, target "0" is float32 [4,3] a batch',
    { cure: 'leave out --mixup and --cutmix' },
  )
  await assertFails(
    () => mixBatch(batchOf({ ids: tokens }), options),
    'mixing: input "ids" is int64, only float32 inputs can be mixed',
  )
  const cutmix = { ...options, mix: { ...mix, mixup: 0, cutmix: 1 } }
  await assertFails(
    () => mixBatch(batchOf({ row: soft }), cutmix),
    'mixing: CutMix needs images, input "row" takes none',
  )
})

test.run()
