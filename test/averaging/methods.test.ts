/** Methods other than the mean, against their definitions computed plainly, and against mergekit's numbers. */

import { readFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, runAverage, type Method } from '../../src/averaging/index.ts'
import { recipeOf } from '../../src/averaging/methods.ts'
import { OrderSource } from '../../src/averaging/streaming.ts'
import { Summer } from '../../src/averaging/summer.ts'
import type { AverageOptions } from '../../src/averaging/plan.ts'
import { openSafetensors, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: methods')

/** Averages vectors, the last one being the base where a method has one. */
async function combine(
  members: readonly Float32Array[],
  options: AverageOptions & { readonly method: Method },
  { base, threads = 0 }: { readonly base?: Float32Array; readonly threads?: number } = {},
): Promise<{ values: Float32Array; metadata: ReadonlyMap<string, string> }> {
  let result: { values: Float32Array; metadata: ReadonlyMap<string, string> } | null = null
  await withFolder(async file => {
    const write = (name: string, values: Float32Array) =>
      writeSafetensors(file(name), [['w', Tensor.of('float32', [values.length], values)]])
    for (const [k, values] of members.entries()) await write(`step-${k}.safetensors`, values)
    if (base) await write('base.safetensors', base)
    const paths = members.map((_, k) => file(`step-${k}.safetensors`))
    const plan = await planAverage(paths, { ...options, ...(base ? { base: file('base.safetensors') } : {}) })
    await runAverage(plan, file('out.safetensors'), { threads })
    const out = await openSafetensors(file('out.safetensors'))
    const tensor = await out.tensors.get('w')!.load()
    result = { values: (tensor.view() as Float32Array).slice(), metadata: out.metadata }
    await out.close()
  })
  return result!
}

const vectors = (count: number, size: number, spread = 1) =>
  Array.from({ length: count }, (_, k) => {
    const random = Random.of(100 + k)
    return Float32Array.from({ length: size }, () => spread * random.normal())
  })

function assertNear(
  found: Float32Array,
  expected: (i: number) => number,
  tolerance: number,
  what = '',
): void {
  found.forEach((value, i) => {
    const wanted = expected(i)
    assert.ok(
      Math.abs(value - wanted) <= tolerance * Math.max(1e-3, Math.abs(wanted)),
      `${what} ${i}: ${value}, ${wanted}`,
    )
  })
}

test('an exponential moving average is what PyTorch computes step by step, whatever the order of listing', async () => {
  const members = vectors(12, 1000)
  for (const [decay, warmup] of [
    [0.9, false],
    [0.5, false],
    [0.99, true],
  ] as const) {
    const { values } = await combine(members, { method: { kind: 'ema', decay, warmup } })
    const running = Float64Array.from(members[0]!)
    for (let k = 1; k < members.length; k++) {
      const d = warmup ? Math.min(decay, 1 - (k + 1) ** (-2 / 3)) : decay
      running.forEach((value, i) => (running[i] = d * value + (1 - d) * members[k]![i]!))
    }
    // One rounding to float32, and weights that are whole numbers of 2^-27.
    const bound = (x: number) => 2 ** -24 * Math.abs(x) + 12 * 2 ** -27
    values.forEach((value, i) =>
      assert.ok(
        Math.abs(value - running[i]!) <= bound(value),
        `decay ${decay}, ${i}: ${value}, ${running[i]}`,
      ),
    )
  }
  await withFolder(async file => {
    const paths = [0, 1, 2, 10].map(k => file(`epoch-${k}.safetensors`))
    for (const [k, path] of paths.entries())
      await writeSafetensors(path, [['w', Tensor.of('float32', [1], [k])]])
    const options: AverageOptions = { method: { kind: 'ema', decay: 0.5 }, last: 3 }
    const plan = await planAverage([paths[3]!, paths[0]!, paths[2]!, paths[1]!], options)
    assert.equal(
      plan.files.map(({ path, weight }) => [path, weight]),
      [
        [paths[1], 1],
        [paths[2], 1],
        [paths[3], 2],
      ],
    )
  })
})

test('medians and trimmed means, of any number of members, in every dtype', async () => {
  const size = 5000
  for (const [count, trim] of [
    [1, 0],
    [2, 0],
    [3, 1],
    [10, 2],
    [10, 4],
    [17, 8],
    [40, 3],
  ] as const) {
    for (const dtype of ['float32', 'float16', 'float64'] as const) {
      const tensors = vectors(count, size).map(values => Tensor.of(dtype, [size], Array.from(values)))
      const summands = tensors.map((tensor, k) => ({
        ...{ kind: 'elements' as const, member: `m${k}`, tensor, weight: 1 },
      }))
      const summed = { name: 'w', dtype, dims: [size], summands }
      const source = new OrderSource(summed, trim, new Summer({ threads: 0 }))
      const found = new Tensor(dtype, [size], await source.read(0, source.byteLength)).toNumbers()
      const numbers = tensors.map(tensor => tensor.toNumbers())
      const kept = count - 2 * trim
      const expected = Array.from({ length: size }, (_, i) => {
        const column = numbers.map(list => list[i]!).sort((a, b) => a - b)
        return column.slice(trim, count - trim).reduce((sum, x) => sum + x, 0) / kept
      })
      if (kept <= 2 || dtype === 'float16') {
        // One rounding of a sum that float64 holds exactly.
        assert.equal(found, Tensor.of(dtype, [size], expected).toNumbers(), `${dtype} ${count} ${trim}`)
      } else {
        found.forEach((x, i) =>
          assert.ok(Math.abs(x - expected[i]!) <= 2 ** -23 * Math.abs(x) + 1e-12, `${i}`),
        )
      }
    }
  }
  const { values } = await combine(vectors(5, 100), { method: { kind: 'median' } })
  assert.equal(
    Array.from(values),
    Array.from(
      { length: 100 },
      (_, i) =>
        vectors(5, 100)
          .map(list => list[i]!)
          .sort((a, b) => a - b)[2]!,
    ),
  )
})

test('medians refuse what is not finite, and keep an infinity of all members', async () => {
  const method = { kind: 'median' } as const
  const members = [1, 2, 3].map(x => Float32Array.of(x, Infinity, -x))
  assert.equal([...(await combine(members, { method })).values], [2, Infinity, -2])
  members[1]![2] = NaN
  const error = await errorOf(combine(members, { method }))
  assert.match(error.message, /step-1\.safetensors: tensor "w" float32\[3\], element 2 at \[2\]: .*found NaN/)
  const { values } = await combine(members, { method, nonfinite: 'allow' })
  assert.equal([...values], [2, Infinity, NaN])
})

test('interpolation and extrapolation, exactly rounded', async () => {
  const [a, b] = vectors(2, 3000) as [Float32Array, Float32Array]
  for (const at of [0.25, 0.3, 1.5, -0.5]) {
    const { values } = await combine([a, b], { method: { kind: 'interpolate', at } })
    // Products of float32 numbers and small whole ones are exact in float64, and so is their sum here.
    const unit = at === 0.3 ? 10 : 4
    const [p, q] = [Math.round((1 - at) * unit), Math.round(at * unit)]
    assertNear(values, i => Math.fround((p * a[i]! + q * b[i]!) / unit), 0, `at ${at}`)
  }
  const error = await errorOf(
    combine([Float32Array.of(3e38), Float32Array.of(-3e38)], { method: { kind: 'interpolate', at: -1 } }),
  )
  assert.match(error.message, /element 0: the result is too large for float32/)
})

test('task arithmetic is base + scale times the sum of differences', async () => {
  const members = vectors(3, 2000, 0.1)
  const base = vectors(4, 2000)[3]!
  for (const scale of [0.4, 1, undefined]) {
    const method = { kind: 'task', ...(scale === undefined ? {} : { scale }) } as const
    const { values } = await combine(members, { method }, { base })
    const factor = scale ?? 1 / 3
    const expected = (i: number) => base[i]! + factor * members.reduce((sum, x) => sum + x[i]! - base[i]!, 0)
    assertNear(values, expected, 2 ** -22, `scale ${scale}`)
  }
})

test('TIES by its definition, for any number of threads', async () => {
  const size = 70_000
  const base = vectors(5, size)[4]!
  const members = vectors(4, size).map(noise => base.map((x, i) => x + 0.01 * noise[i]!))
  const density = 0.3
  const differences = members.map(x => Float64Array.from(x, (value, i) => value - base[i]!))
  const least = differences.map(list => {
    const sizes = Float64Array.from(list, Math.abs).sort()
    return sizes[size - Math.ceil(density * size)]!
  })
  const expected = (i: number) => {
    const kept = differences.map((list, k) =>
      Math.fround(Math.abs(list[i]!)) >= Math.fround(least[k]!) ? list[i]! : 0,
    )
    const sum = kept.reduce((all, x) => all + x, 0)
    const agreeing = kept.filter(x => x * sum > 0)
    return base[i]! + (agreeing.length === 0 ? 0 : agreeing.reduce((all, x) => all + x, 0) / agreeing.length)
  }
  for (const threads of [0, 2]) {
    const { values, metadata } = await combine(
      members,
      { method: { kind: 'ties', density } },
      { base, threads },
    )
    assertNear(values, expected, 2 ** -23, `${threads} threads`)
    assert.is(metadata.get('swa_onnx.method'), 'TIES')
    assert.equal(JSON.parse(metadata.get('swa_onnx.parameters')!), { density })
  }
})

test('SLERP keeps the angle: on the unit circle, and in many dimensions', async () => {
  const circle = await combine([Float32Array.of(1, 0), Float32Array.of(0, 1)], {
    method: { kind: 'slerp', at: 1 / 3 },
  })
  assertNear(circle.values, i => (i === 0 ? Math.cos(Math.PI / 6) : Math.sin(Math.PI / 6)), 2 ** -23)
  const [a, b] = vectors(2, 100_000) as [Float32Array, Float32Array]
  const { values } = await combine([a, b], { method: { kind: 'slerp', at: 0.4 } }, { threads: 2 })
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)
  const angle = Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))
  const [p, q] = [Math.sin(0.6 * angle) / Math.sin(angle), Math.sin(0.4 * angle) / Math.sin(angle)]
  assertNear(values, i => p * a[i]! + q * b[i]!, 2 ** -22)
  // Parallel ones are interpolated on the line.
  const line = await combine([Float32Array.of(1, 2), Float32Array.of(2, 4)], {
    method: { kind: 'slerp', at: 0.5 },
  })
  assert.equal([...line.values], [1.5, 3])
})

test('DARE leaves out a share and keeps the mean; the seed decides, threads do not', async () => {
  const size = 200_000
  const base = new Float32Array(size)
  const members = [1, 2].map(x => new Float32Array(size).fill(x))
  const run = (seed: number, threads = 0) =>
    combine(members, { method: { kind: 'dare', drop: 0.75, seed, scale: 1 } }, { base, threads }).then(
      ({ values }) => values,
    )
  const values = await run(1)
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  // Each of two members is there with probability 1/4, four times as large.
  for (const [value, share] of [
    [0, 9 / 16],
    [4, 3 / 16],
    [8, 3 / 16],
    [12, 1 / 16],
  ] as const) {
    const spread = Math.sqrt(share * (1 - share) * size)
    assert.ok(Math.abs(counts.get(value)! - share * size) < 5 * spread, `${value}: ${counts.get(value)}`)
  }
  assert.is(counts.size, 4)
  assert.equal(await run(1, 2), values)
  assert.not.equal(await run(2), values)
})

test('what a method does not take is refused', () => {
  const refused = (method: Method, members = 3, weights?: number[]) => {
    try {
      recipeOf(method, members, weights)
    } catch (error) {
      return (error as Error).message
    }
    return 'accepted'
  }
  assert.match(refused({ kind: 'interpolate', at: 0.5 }), /takes 2 members, found 3/)
  assert.match(refused({ kind: 'median' }, 3, [1, 1, 1]), /takes no weights/)
  assert.match(refused({ kind: 'ema', decay: 1 }), /expected at least 0 and below 1, found 1/)
  assert.match(refused({ kind: 'trimmed', trim: 1 }, 2), /expected a whole number from 1 to 0 for 2 members/)
  assert.match(refused({ kind: 'ties', density: 0 }), /expected above 0 and at most 1/)
  assert.match(refused({ kind: 'mean' }, 2, [1, -1]), /expected|positive number, found -1/)
  assert.match(refused({ kind: 'ema', decay: 1e-9 }, 3), /would count less than 2\^-27/)
  assert.match(refused({ kind: 'interpolate', at: 0 }, 2), /other than 0/)
})

test('a base where there is none, none where there should be one, sums of members', async () => {
  await withFolder(async file => {
    for (const name of ['a', 'b']) {
      await writeSafetensors(file(name), [['w', Tensor.of('float32', [1], [name.charCodeAt(0)])]])
    }
    const paths = [file('a'), file('b')]
    assert.match(
      (await errorOf(planAverage(paths, { base: file('a') }))).message,
      /mean has no use for a base/,
    )
    const ties = { kind: 'ties', density: 0.5 } as const
    assert.match((await errorOf(planAverage(paths, { method: ties }))).message, /ties needs the model/)
    await runAverage(await planAverage(paths), file('sums'), { as: 'partial' })
    const median = await errorOf(planAverage([file('sums'), file('a')], { method: { kind: 'median' } }))
    assert.match(median.message, /sums is a partial average: expected checkpoints for the method median/)
    const plan = await planAverage(paths, { method: { kind: 'median' } })
    assert.match(
      (await errorOf(runAverage(plan, file('out'), { as: 'partial' }))).message,
      /expected the method mean/,
    )
    await runAverage(plan, file('out'))
    assert.match(await readFile(file('out'), 'latin1'), /"swa_onnx.method":"median"/)
  })
})

test.run()
