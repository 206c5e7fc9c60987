/** Convolutions, poolings and slices that WebGPU's kernels refuse or get wrong, and what stands for them. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { printGraph } from '../../src/ir/print.ts'
import { checkForm, floats, graphOf, node, replaced, type FormCase } from '../support/form-case.ts'

const check = (each: FormCase) => test(each.title, () => checkForm(each))

// Convolutions. Sums of products in another order: a few roundings of the largest term.
const SUMS = { absolute: 1e-5, relative: 1e-5 }
check({
  title: 'Conv of volumes with groups, strides, dilations, asymmetric pads and a bias',
  inputs: [floats(2, 4, 5, 6, 7), floats(6, 2, 2, 3, 2), floats(6)],
  write: node('Conv', [2, 6, 3, 6, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    dilations: [2, 1, 3],
    pads: [1, 0, 2, 1, 2, 1],
    group: 2,
  }),
  ...SUMS,
})
check({
  title: 'Conv of volumes, each channel for itself, SAME_UPPER',
  inputs: [floats(1, 3, 4, 5, 6), floats(3, 1, 3, 3, 3)],
  write: node('Conv', [1, 3, 2, 3, 3], {
    kernel_shape: [3, 3, 3],
    strides: [2, 2, 2],
    auto_pad: 'SAME_UPPER',
    group: 3,
  }),
  ...SUMS,
})
for (const [title, write] of Object.entries({
  'groups, strides, dilations, pads and output_padding': node('ConvTranspose', [2, 6, 10, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    dilations: [3, 1, 2],
    pads: [1, 0, 1, 0, 0, 0],
    output_padding: [1, 0, 0],
    group: 2,
  }),
  output_shape: node('ConvTranspose', [2, 6, 9, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    output_shape: [9, 8, 7],
    group: 2,
  }),
  'stride beyond the kernel': node('ConvTranspose', [2, 6, 14, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [4, 1, 1],
    group: 2,
  }),
})) {
  check({
    title: `ConvTranspose of volumes, ${title}`,
    inputs: [floats(2, 4, 4, 6, 6), floats(4, 3, 2, 3, 2), floats(6)],
    write,
    ...SUMS,
  })
}
for (const [rank, shape, attributes] of [
  [1, [2, 3, 11], { strides: [2], pads: [1, 0], output_padding: [1] }],
  [2, [2, 3, 11, 7], { strides: [2, 1], dilations: [1, 2], pads: [1, 0, 0, 1], output_padding: [1, 0] }],
] as const) {
  check({
    title: `ConvTranspose of rank ${rank} with groups of one output channel and even ones of inputs`,
    inputs: [floats(2, 12, ...[5, 4].slice(0, rank)), floats(12, 1, ...[3, 3].slice(0, rank)), floats(3)],
    write: node('ConvTranspose', shape, { kernel_shape: [3, 3].slice(0, rank), ...attributes, group: 3 }),
    ...SUMS,
  })
}

for (const [group, m] of [
  [2, 5],
  [2, 6],
  [4, 7],
] as const) {
  for (const rank of [1, 2]) {
    check({
      title: `Conv of rank ${rank} with ${group} groups of ${m} output channels`,
      inputs: [
        floats(2, group * 3, ...[7, 6].slice(0, rank)),
        floats(group * m, 3, ...[3, 2].slice(0, rank)),
        floats(group * m),
      ],
      write: node('Conv', [2, group * m, ...[4, 6].slice(0, rank)], {
        kernel_shape: [3, 2].slice(0, rank),
        strides: [2, 1].slice(0, rank),
        pads: rank === 1 ? [1, 1] : [1, 1, 1, 0],
        group,
      }),
      ...SUMS,
    })
  }
}

for (const inputs of [6, 9, 15]) {
  check({
    title: `Conv of ${inputs} input channels, read by three`,
    inputs: [floats(2, inputs, 7, 6), floats(8, inputs, 3, 3), floats(8)],
    write: node('Conv', [2, 8, 4, 6], { kernel_shape: [3, 3], strides: [2, 1], auto_pad: 'SAME_LOWER' }),
    ...SUMS,
  })
}

test('convolutions whose kernels are right are left alone', () => {
  const rows: Omit<FormCase, 'title'>[] = [
    {
      inputs: [floats(1, 2, 5, 5, 5), floats(4, 2, 2, 2, 2)],
      write: node('Conv', [1, 4, 4, 4, 4], { kernel_shape: [2, 2, 2] }),
    },
    {
      inputs: [floats(1, 6, 5, 5), floats(6, 1, 2, 2)],
      write: node('ConvTranspose', [1, 2, 6, 6], { kernel_shape: [2, 2], group: 2 }),
    },
    {
      inputs: [floats(1, 4, 5, 5), floats(4, 2, 2, 2)],
      write: node('ConvTranspose', [1, 4, 6, 6], { kernel_shape: [2, 2], group: 2 }),
    },
  ]
  for (const each of rows) {
    const row = { title: '', ...each }
    assert.is(printGraph(replaced(row)), printGraph(graphOf(row)))
  }
})

// Poolings: no ceil_mode is left, except where pads cannot say it.
for (const [title, size, shape, attributes] of [
  ['no window', [5, 5], [2, 2], { kernel_shape: [2, 2], pads: [1, 1, 1, 1], strides: [3, 3] }],
  ['a window', [6, 6], [3, 3], { kernel_shape: [3, 3], strides: [2, 2] }],
  ['one on one axis', [7, 6], [3, 3], { kernel_shape: [2, 3], strides: [3, 3], pads: [1, 1, 1, 1] }],
] as const) {
  for (const [opType, more] of [
    ['MaxPool', {}],
    ['AveragePool', { count_include_pad: 0 }],
    ['AveragePool', { count_include_pad: 1 }],
  ] as const) {
    const each: FormCase = {
      title: `${opType} ${JSON.stringify(more)}, ceil_mode that adds ${title}`,
      inputs: [floats(1, 2, ...size)],
      write: node(opType, [1, 2, ...shape], { ...attributes, ...more, ceil_mode: 1 }),
      ...(opType === 'AveragePool' ? { absolute: 1e-6 } : {}),
    }
    check(each)
    test(`${each.title}: it goes`, () => {
      const graph = replaced(each)
      assert.ok(graph.nodes.every(pool => pool.int('ceil_mode', 0) === 0))
    })
  }
}
check({
  title: 'MaxPool whose padding would be as wide as its kernel',
  inputs: [floats(1, 2, 8, 8)],
  write: node('MaxPool', [1, 2, 3, 3], {
    kernel_shape: [2, 2],
    strides: [3, 3],
    dilations: [3, 3],
    ceil_mode: 1,
  }),
})
check({
  title: 'MaxPool {storage_order=1} without Indices',
  inputs: [floats(2, 3, 7, 6)],
  write: node('MaxPool', [2, 3, 3, 2], { kernel_shape: [3, 3], strides: [2, 2], storage_order: 1 }),
})

// Slices.
for (const [title, shape, starts, ends, axes, steps] of [
  ['one axis', [3, 5, 7], [4], [-100], [1], [-1]],
  ['every second, from inside', [3, 2, 7], [-2], [0], [1], [-2]],
  ['all axes, one of them forwards', [3, 2, 2], [2, 1, -1], [-9, 4, 0], [0, 1, 2], [-1, 2, -3]],
] as const) {
  check({
    title: `Slice backwards, ${title}`,
    inputs: [floats(3, 5, 7)],
    write: (op, [x]) => {
      const inputs = [x!, ...[starts, ends, axes, steps].map(values => op.int64s(values))]
      return op.one('Slice', inputs, { shape })
    },
  })
}

test.run()
