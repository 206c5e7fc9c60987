/** SWAG: statistics against their definitions, draws against the Gaussian that they are drawn from. */

import { readFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { drawModel, modelWeights, openSwag, planAverage, runAverage } from '../../src/averaging/index.ts'
import { DrawnSource, writeSwag } from '../../src/averaging/swag.ts'
import { loadModel, writeSafetensors } from '../../src/serde/index.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { perturb, RESNET } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: swag')
const SIZE = 30_000

test('mean, variance and deviations are those of the paper, for any number of threads', () =>
  withFolder(async file => {
    const members = Array.from({ length: 7 }, (_, k) => {
      const random = Random.of(k)
      return Float32Array.from({ length: SIZE }, (_, i) => 5 + (i % 3) + 0.1 * random.normal())
    })
    // Listed backwards: the numbers in the names say which came first.
    const paths: string[] = []
    for (const [k, values] of members.entries()) {
      paths.unshift(file(`step-${k}.safetensors`))
      await writeSafetensors(paths[0]!, [
        ['w', Tensor.of('float32', [SIZE / 3, 3], values)],
        ['n', Tensor.of('int64', [1], [4n])],
      ])
    }
    const rank = 4
    const files: Buffer[] = []
    for (const threads of [0, 2]) {
      const plan = await planAverage(paths, { method: { kind: 'swag', rank } })
      const report = await runAverage(plan, file('swag.safetensors'), { threads })
      assert.is(report.output, 'swag')
      files.push(await readFile(file('swag.safetensors')))
    }
    assert.ok(files[0]!.equals(files[1]!))
    const swag = await openSwag(file('swag.safetensors'))
    const { tensor, dims, dtype } = swag.gaussians.get('w')!
    assert.equal([dims, dtype, swag.rank, [...swag.last.keys()]], [[SIZE / 3, 3], 'float32', rank, ['n']])
    const found = (await tensor.load()).view() as Float32Array
    for (let i = 0; i < SIZE; i += 7) {
      const column = members.map(member => member[i]!)
      const mean = column.reduce((a, b) => a + b) / 7
      const variance = column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 7
      const row = found.subarray(i * (2 + rank), (i + 1) * (2 + rank))
      assert.ok(Math.abs(row[0]! - mean) < 1e-6, `mean ${i}`)
      assert.ok(Math.abs(row[1]! - variance) < 1e-6 * variance + 1e-12, `variance ${i}`)
      for (let k = 0; k < rank; k++) {
        const upTo = column.slice(0, 7 - rank + k + 1)
        const deviation = upTo.at(-1)! - upTo.reduce((a, b) => a + b) / upTo.length
        assert.ok(Math.abs(row[2 + k]! - deviation) < 1e-6, `deviation ${k} of ${i}`)
      }
    }
    await swag.close()
  }))

/** A Gaussian in memory; rows are mean, variance, deviations. */
const gaussianOf = (rows: readonly (readonly number[])[]) => ({
  ...{ dtype: 'float64' as const, dims: [rows.length] },
  tensor: Tensor.of('float32', [rows.length, rows[0]!.length], rows.flat()),
})

async function drawn(
  gaussian: ReturnType<typeof gaussianOf>,
  rank: number,
  options: { seed: number; scale?: number; diagonal?: boolean },
) {
  const source = new DrawnSource('w', gaussian, rank, 0, options)
  const bytes = await source.read(0, source.byteLength)
  return new Tensor('float64', gaussian.dims, bytes).view() as Float64Array
}

test('draws of the diagonal form have the mean and the variance, element by element', async () => {
  const count = 100_000
  const rows = Array.from({ length: count }, (_, i) => [i % 5, 0.25])
  const w = await drawn(gaussianOf(rows), 0, { seed: 1, diagonal: true })
  const z = w.map((x, i) => (x - (i % 5)) / 0.5)
  const moment = (p: number) => z.reduce((sum, x) => sum + x ** p, 0) / count
  // Standard errors of the moments of a normal number.
  for (const [p, expected, error] of [
    [1, 0, 1],
    [2, 1, Math.sqrt(2)],
    [3, 0, Math.sqrt(15)],
    [4, 3, Math.sqrt(96)],
  ] as const) {
    assert.ok(Math.abs(moment(p) - expected) < (5 * error) / Math.sqrt(count), `moment ${p}: ${moment(p)}`)
  }
  const covered = z.filter(x => Math.abs(x) < 1.959964).length / count
  assert.ok(covered > 0.945 && covered < 0.955, String(covered))
  const neighbours = z.slice(1).reduce((sum, x, i) => sum + x * z[i]!, 0) / count
  assert.ok(Math.abs(neighbours) < 5 / Math.sqrt(count), `neighbours ${neighbours}`)
})

test('without variance a draw lies in the space of the deviations, with covariance D D^T / 2 (rank - 1)', async () => {
  // Two deviations, along the first and the second element.
  const gaussian = gaussianOf([
    [1, 0, 3, 0],
    [2, 0, 0, 4],
    [3, 0, 3, 4],
  ])
  const draws: Float64Array[] = []
  for (let seed = 0; seed < 4000; seed++) draws.push(await drawn(gaussian, 2, { seed }))
  for (const [a, b, c] of draws) assert.ok(Math.abs(a! - 1 + (b! - 2) - (c! - 3)) < 1e-6)
  const variance = (i: number, mean: number) =>
    draws.reduce((sum, w) => sum + (w[i]! - mean) ** 2, 0) / draws.length
  const near = (found: number, expected: number) =>
    assert.ok(
      Math.abs(found / expected - 1) < 5 * Math.sqrt(2 / draws.length),
      `${found}, expected ${expected}`,
    )
  near(variance(0, 1), 9 / 2)
  near(variance(1, 2), 16 / 2)
})

test('scale 0 is the mean; ranges of a draw are those of the whole', async () => {
  const random = Random.of(3)
  const rows = Array.from({ length: 70_000 }, () => [random.normal(), 1, random.normal(), random.normal()])
  const gaussian = gaussianOf(rows)
  const mean = await drawn(gaussian, 2, { seed: 9, scale: 0 })
  assert.ok(mean.every((x, i) => x === Math.fround(rows[i]![0]!)))
  const source = new DrawnSource('w', gaussian, 2, 0, { seed: 9 })
  const whole = Buffer.from(await source.read(0, source.byteLength))
  const part = await source.read(8 * 65_530 + 3, 100)
  assert.is(Buffer.compare(part, whole.subarray(8 * 65_530 + 3, 8 * 65_530 + 103)), 0)
})

test('a drawn model: weights move, batch-norm statistics stay at their mean, the same seed gives the same bytes', () =>
  withFolder(async file => {
    const paths = [1, 2, 3, 4].map(k => file(`step-${k}.onnx`))
    for (const [k, path] of paths.entries()) await perturb(RESNET, path, k)
    await runAverage(await planAverage(paths, { method: { kind: 'swag' } }), file('swag.safetensors'))
    await runAverage(await planAverage(paths), file('mean.onnx'))
    const swag = await openSwag(file('swag.safetensors'))
    try {
      await drawModel(swag, paths[0]!, file('a.onnx'), { seed: 5 })
      await drawModel(swag, paths[1]!, file('b.onnx'), { seed: 5 })
      await drawModel(swag, paths[0]!, file('c.onnx'), { seed: 6 })
      const [a, c, mean] = [
        await loadModel(file('a.onnx')),
        await loadModel(file('c.onnx')),
        await loadModel(file('mean.onnx')),
      ]
      const [drawnA, drawnC, means] = [a, c, mean].map(({ model }) => modelWeights(model))
      for (const [i, { name, tensor, fixed }] of drawnA!.entries()) {
        if (fixed !== null || tensor.dtype !== 'float32') continue
        const [x, y, m] = await Promise.all(
          [tensor, drawnC![i]!.tensor, means![i]!.tensor].map(one => one.load()),
        )
        const numbers = x!.toNumbers()
        const expected = m!.toNumbers()
        if (/running_(mean|var)/.test(name)) {
          numbers.forEach((value, k) =>
            assert.ok(Math.abs(value - expected[k]!) <= 2e-7 * Math.abs(value), name),
          )
        } else assert.not.equal(numbers, y!.toNumbers(), name)
      }
      for (const open of [a, c, mean]) await open.close()
      const [again, first] = [await weightBytes(file('b.onnx')), await weightBytes(file('a.onnx'))]
      assert.ok(again.equals(first), 'whatever model it is written into')
      const other = await errorOf(drawModel(swag, file('swag.safetensors'), file('x.onnx'), { seed: 1 }))
      assert.match(other.message, /expected an ONNX model, found safetensors/)
    } finally {
      await swag.close()
    }
  }))

async function weightBytes(path: string): Promise<Buffer> {
  const file = await loadModel(path)
  const parts: Uint8Array[] = []
  for (const { tensor } of modelWeights(file.model)) parts.push(await tensor.bytes())
  await file.close()
  return Buffer.concat(parts)
}

test('files that are no Gaussian, and damaged ones, are refused', () =>
  withFolder(async file => {
    await writeSafetensors(file('a'), [['w', Tensor.of('float32', [1], [1])]])
    assert.match(
      (await errorOf(openSwag(file('a')))).message,
      /expected a Gaussian of format 1, found another safetensors file/,
    )
    await writeSwag(file('b'), {
      ...{ rank: 1, fingerprint: null, last: new Map(), metadata: new Map() },
      gaussians: [{ name: 'w', dtype: 'float32', dims: [2], source: new MemorySource(new Uint8Array(24)) }],
    })
    const swag = await openSwag(file('b'))
    assert.equal([...swag.gaussians.keys()], ['w'])
    await swag.close()
    for (const [metadata, message] of [
      [{ 'swa_onnx.swag': '1', 'swa_onnx.rank': '-1', 'swa_onnx.dtypes': '{}' }, /its rank is -1/],
      [
        { 'swa_onnx.swag': '1', 'swa_onnx.rank': '1', 'swa_onnx.dtypes': '{' },
        /the metadata swa_onnx\.dtypes/,
      ],
      [
        { 'swa_onnx.swag': '1', 'swa_onnx.rank': '1', 'swa_onnx.dtypes': '{"w":"int8"}' },
        /is none of a Gaussian/,
      ],
      [
        { 'swa_onnx.swag': '1', 'swa_onnx.rank': '2', 'swa_onnx.dtypes': '{"w":"float32"}' },
        /is none of a Gaussian/,
      ],
    ] as const) {
      await writeSafetensors(
        file('c'),
        [['swag/w', Tensor.of('float32', [1, 3], [1, 2, 3])]],
        new Map(Object.entries(metadata)),
      )
      assert.match((await errorOf(openSwag(file('c')))).message, message)
    }
    await writeSafetensors(file('d'), [['w', Tensor.of('float32', [1], [NaN])]])
    const plan = await planAverage([file('a'), file('d')], { method: { kind: 'swag' } })
    assert.match((await errorOf(runAverage(plan, file('e')))).message, /d: tensor "w".* found NaN/)
    assert.match(
      (await errorOf(planAverage([file('a')], { method: { kind: 'swag' } }))).message,
      /2 or more members/,
    )
  }))

test.run()
