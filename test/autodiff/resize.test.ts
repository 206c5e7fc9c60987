/** Resize: the coordinate tables against onnxruntime in every mode, gradients by finite differences. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { float } from '../../src/ir/attribute.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import type { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { resizeMatrices, type ResizeInputs } from '../../src/ops/resize.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { testRows } from '../support/check-grads.ts'
import { resizeRows } from './rows/resize.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { runModel } from '../support/ort.ts'

const TRANSFORMATIONS = [
  'half_pixel',
  'half_pixel_symmetric',
  'pytorch_half_pixel',
  'asymmetric',
  'align_corners',
  'tf_half_pixel_for_nn',
]
const NEAREST = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil']

interface Resized {
  readonly input: number
  /** A ratio (with a point) or a size. */
  readonly scale?: number
  readonly size?: number
}

/** Every ratio of small sizes, and scales that no ratio of sizes is. */
const SIZES: Resized[] = [1, 2, 3, 4, 5, 7].flatMap(input =>
  [1, 2, 3, 4, 5, 6, 7, 9, 10, 13].map(size => ({ input, size })),
)
const SCALES: Resized[] = [3, 5, 8].flatMap(input =>
  [0.5, 0.6, 0.75, 1, 1.3, 1.5, 1.7, 2, 2.5, 3].map(scale => ({ input, scale })),
)

/** The matrices of `resizeMatrices` applied to x along axis 2 of [1, 1, input, 1]. */
function tabulated(node: Node, inputs: ResizeInputs, x: readonly number[]): number[] {
  const matrix = resizeMatrices(node, inputs)[2]!
  return Array.from({ length: matrix.rows }, (_, o) =>
    x.reduce((sum, value, i) => sum + matrix.data[o * matrix.columns + i]! * value, 0),
  )
}

/** One model of many Resize nodes with the same attributes; the table of each must give what onnxruntime gives. */
async function checkTables(
  attributes: Attributes,
  cases: readonly Resized[],
  roi?: readonly [number, number],
) {
  // Weights that remain inside may be small, and are divided by their sum.
  const absolute = 'exclude_outside' in attributes ? 1e-5 : 2e-6
  const op = new Builder()
  const graph = new Graph('resize')
  const made = cases.map(({ input, scale, size }, i) => {
    const values = Array.from({ length: input }, (_, k) => Math.fround(Math.sin(k * k + i)))
    const x = op.constant(Tensor.of('float32', [1, 1, input, 1], values))
    const output = size ?? Math.floor(Math.fround(Math.fround(scale!) * input))
    const inputs = {
      roi: roi ? [0, 0, roi[0], 0, 1, 1, roi[1], 1] : null,
      scales: scale === undefined ? null : [1, 1, scale, 1],
      sizes: size === undefined ? null : [1, 1, size, 1],
    }
    const operands = [
      x,
      inputs.roi && op.floats([8], inputs.roi),
      inputs.scales && op.floats([4], inputs.scales),
      inputs.sizes && op.int64s(inputs.sizes),
    ]
    const y = op.one('Resize', operands, { shape: [1, 1, output, 1] }, attributes)
    return { y, inputs, values, what: `${input} -> ${size ?? `x ${scale!}`}` }
  })
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  graph.outputs = made.map(({ y }) => y)
  const found = await runModel(new Model(graph, 9, new Map([['', 19]])), {})
  const title = JSON.stringify(
    Object.values(attributes).map(value => (typeof value === 'string' ? value : 0)),
  )
  for (const { y, inputs, values, what } of made) {
    const expected = found[y.name]!.toNumbers()
    const table = tabulated(y.producer!, inputs, values)
    assertClose(table, expected, { absolute }, `${title} ${what}`)
  }
}

for (const coordinate_transformation_mode of TRANSFORMATIONS) {
  test(`tables of nearest, ${coordinate_transformation_mode}`, async () => {
    for (const nearest_mode of NEAREST) {
      const attributes = { mode: 'nearest', coordinate_transformation_mode, nearest_mode }
      await checkTables(attributes, [...SIZES, ...SCALES])
    }
  })
  test(`tables of linear, ${coordinate_transformation_mode}`, () =>
    checkTables({ mode: 'linear', coordinate_transformation_mode }, [...SIZES, ...SCALES]))
}

/** Ways of the modes that are interpolated over more than two elements. */
const WIDE: Attributes[] = [
  { mode: 'cubic' },
  { mode: 'cubic', exclude_outside: 1 },
  { mode: 'cubic', cubic_coeff_a: float(-0.5) },
  { mode: 'linear', antialias: 1 },
  { mode: 'linear', antialias: 1, exclude_outside: 1 },
  { mode: 'cubic', antialias: 1 },
  { mode: 'cubic', antialias: 1, exclude_outside: 1, cubic_coeff_a: float(-0.5) },
]

for (const attributes of WIDE) {
  for (const coordinate_transformation_mode of TRANSFORMATIONS) {
    test(`tables of ${describe(attributes)}, ${coordinate_transformation_mode}`, () =>
      checkTables({ ...attributes, coordinate_transformation_mode }, [...SIZES, ...SCALES]))
  }
}

function describe(attributes: Attributes): string {
  return Object.entries(attributes)
    .map(([name, value]) => (typeof value === 'string' ? value : name))
    .join(' ')
}

for (const mode of ['nearest', 'linear', 'cubic']) {
  test(`tables of ${mode}, tf_crop_and_resize`, async () => {
    const attributes = { mode, coordinate_transformation_mode: 'tf_crop_and_resize' }
    // Sizes that differ from the input's: onnxruntime ignores the region of an axis of scale 1.
    const cases = SIZES.filter(({ input, size }) => input !== size)
    for (const roi of [
      [0.1, 0.8],
      [-0.3, 0.6],
      [0.2, 1.4],
    ] as const) {
      await checkTables(attributes, cases, roi)
    }
  })
}

testRows(test, resizeRows)

test('modes without a rule are refused by name', async () => {
  const refused = (attributes: Attributes, scales: number[] | null = [1, 1, 2, 2]) =>
    errorOf(() => {
      const op = new Builder(['x'])
      const x = Value.typed('x', 'float32', [1, 1, 2, 2])
      const y = op.one(
        'Resize',
        [x, null, scales && op.floats([4], scales)],
        { shape: [1, 1, 4, 4] },
        attributes,
      )
      const seeds = new Map([[y, Value.typed('dy', 'float32', y.shape)]])
      pullBack(op, [...op.nodes], seeds, [x], { rules: RULES, opset: 18 })
    })
  assert.is(
    (await refused({ mode: 'quintic' })).message,
    'Resize "Resize_0": attribute mode should be one of nearest, linear, cubic, found quintic',
  )
  assert.is(
    (await refused({ mode: 'nearest', antialias: 1 })).message,
    'Resize "Resize_0": Resize with mode nearest has no antialias',
  )
  assert.is(
    (await refused({ mode: 'nearest' }, null)).message,
    'Resize "Resize_0": expected scales or sizes as input, found neither',
  )
  assert.is(
    (await refused({ mode: 'linear', coordinate_transformation_mode: 'other' })).message,
    `Resize "Resize_0": attribute coordinate_transformation_mode should be one of ${[...TRANSFORMATIONS.slice(0, 3), 'tf_half_pixel_for_nn', 'asymmetric', 'align_corners', 'tf_crop_and_resize'].join(', ')}, found other`,
  )
})

test.run()
