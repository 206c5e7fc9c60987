/** Which tensor is which by what they hold: margins, samples of large matrices, values that tell nothing. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Checkpoint } from '../../src/averaging/index.ts'
import { Comparison, distanceOf, type Group } from '../../src/averaging/content-match.ts'
import { elementsOf, gridOf, sample } from '../../src/averaging/sampling.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { floats, randoms } from '../passes/support/build.ts'

const test = suite('averaging: content')

function checkpoint(tensors: Record<string, Tensor>, path = 'a'): Checkpoint {
  const entries = Object.entries(tensors).map(
    ([name, tensor]) => [name, { dtype: tensor.dtype, dims: tensor.dims, tensor, fixed: null }] as const,
  )
  const close = () => Promise.resolve()
  const nothing = { model: null, partial: null, metadata: new Map<string, string>() }
  return { ...nothing, path, format: 'safetensors', tensors: new Map(entries), close }
}

async function* listed(...checkpoints: Checkpoint[]): AsyncGenerator<Checkpoint, void> {
  for (const each of checkpoints) yield await Promise.resolve(each)
}

async function pairs(
  tensors: Record<string, Tensor>,
  places: Record<string, Tensor>,
  dims: readonly number[],
) {
  const group: Group = { tensors: Object.keys(tensors), places: Object.keys(places), dims }
  const comparison = await Comparison.of(group, checkpoint(places), listed(checkpoint(tensors)))
  return comparison
    .found()
    .map(({ tensor, place, transposed }) => `${tensor} ${place}${transposed ? ' T' : ''}`)
}

/** a + share * b. */
function mixed(a: Tensor, b: Tensor, share: number): Tensor {
  const other = b.toNumbers()
  return floats(
    a.dims,
    a.toNumbers().map((x, i) => x + share * other[i]!),
  )
}

const [a, b, c] = [1, 2, 3].map(seed => randoms([40], seed)) as [Tensor, Tensor, Tensor]

test('the nearest one, if it is near and the next one is twice as far, seen from both sides', async () => {
  assert.equal(await pairs({ a, b }, { p: mixed(b, c, 0.2), q: mixed(a, c, 0.2) }, [40]), ['a q', 'b p'])
  // Both places lie at the same tensor.
  assert.equal(await pairs({ a }, { p: mixed(a, c, 0.2), q: mixed(a, c, -0.25) }, [40]), [])
  // Both tensors lie at the same place.
  assert.equal(await pairs({ a, a2: mixed(a, b, 0.1) }, { p: mixed(a, c, 0.2) }, [40]), [])
  // The only one, but it has nothing to do with it.
  assert.equal(await pairs({ a }, { p: b }, [40]), [])
  // Equal elements decide, however near others are; not if there are two of them.
  assert.equal(await pairs({ a, a2: mixed(a, b, 1e-3) }, { p: a }, [40]), ['a p'])
  assert.equal(await pairs({ a, a2: a }, { p: a }, [40]), [])
})

test('elements that are all alike or not finite tell nothing', async () => {
  const zeros = floats([3], [0, 0, 0])
  assert.equal(await pairs({ a: zeros }, { p: zeros }, [3]), [])
  assert.equal(await pairs({ a: floats([3], [NaN, 1, 2]) }, { p: floats([3], [1, 1, 2]) }, [3]), [])
  assert.is(distanceOf(Float64Array.of(Infinity), Float64Array.of(Infinity)), Infinity)
  assert.is(distanceOf(Float64Array.of(3, 0), Float64Array.of(0, 4)), 1)
  assert.is(distanceOf(Float64Array.of(0, 0), Float64Array.of(0, 0)), 0)
})

test('more pairs than are compared are left alone', async () => {
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`t${i}`, floats([1], [i])]))
  assert.equal(await pairs(many, many, [1]), [])
})

/** The transpose of [rows, columns]. */
function turned(tensor: Tensor): Tensor {
  const [rows, columns] = tensor.dims as [number, number]
  const numbers = tensor.toNumbers()
  return floats(
    [columns, rows],
    Array.from(numbers, (_, k) => numbers[(k % rows) * columns + Math.floor(k / rows)]!),
  )
}

test('large matrices are sampled at the same elements, transposed ones too', async () => {
  for (const dims of [
    [600, 300],
    [3, 90_000],
    [90_000, 3],
    [400, 400],
  ] as const) {
    const matrix = randoms(dims, dims[0])
    const grid = gridOf(dims, 1 << 16)
    const open = checkpoint({ matrix, turned: turned(matrix) })
    const [plain, other] = [
      await sample(elementsOf(open, 'matrix'), grid),
      await sample(elementsOf(open, 'turned'), grid, true),
    ]
    assert.ok(plain.length > 30_000 && plain.length <= 1 << 16, `${plain.length} elements`)
    assert.equal(plain, other, dims.join())
    const canonical = [...dims].sort((x, y) => x - y)
    const like = mixed(matrix, randoms(dims, 5), 0.1)
    assert.equal(await pairs({ a: matrix }, { p: like, q: randoms(dims, 6) }, canonical), ['a p'])
    assert.equal(await pairs({ a: matrix }, { p: turned(like) }, canonical), ['a p T'])
  }
  // Few enough elements are all looked at, of any number of axes.
  const small = randoms([2, 3, 4])
  const all = await sample(elementsOf(checkpoint({ small }), 'small'), gridOf([2, 3, 4], 64))
  assert.equal([...all], small.toNumbers())
})

test.run()
