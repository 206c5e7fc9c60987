/** What recurrent layers and attention refuse by name. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { text, texts } from '../../src/ir/attribute.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import type { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { recurrentOf } from '../../src/ops/recurrent.ts'
import { FUSIONS } from '../../src/passes/index.ts'
import { RULES, ruleFor } from '../../src/autodiff/index.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { UnsupportedError } from '../../src/util/errors.ts'

function nodeOf(opType: string, shapes: readonly Shape[], attributes: Attributes = {}, domain = ''): Node {
  const inputs = shapes.map((shape, i) => Value.typed(`x${i}`, 'float32', shape))
  return new Builder().emit(opType, inputs, [{ shape: shapes[0]! }], attributes, domain)[0]!.producer!
}

const lstm = (attributes: Attributes) =>
  nodeOf(
    'LSTM',
    [
      [4, 3, 2],
      [1, 8, 2],
      [1, 8, 2],
    ],
    attributes,
  )

function refuses(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error: unknown) => error instanceof UnsupportedError && message.test(error.message))
}

test('layers', () => {
  refuses(() => recurrentOf(lstm({ layout: 1 })), /LSTM "LSTM_0" has layout 1/)
  refuses(() => recurrentOf(lstm({ input_forget: 1 })), /couples input and forget gate/)
  const strange = { activations: texts(['Sigmoid', 'Swish', 'Tanh']) }
  refuses(() => recurrentOf(lstm(strange)), /the activation "Swish"/)
})

test('fusions', () => {
  const define = (node: Node, reads = false) => FUSIONS[node.key]![0]!(new Builder(), node, () => reads)
  const square: Shape = [2, 2]
  refuses(
    () => define(nodeOf('FusedMatMul', [square, square], { transBatchA: 1 }, 'com.microsoft')),
    /has transBatchA set/,
  )
  refuses(
    () => define(nodeOf('FusedGemm', [square, square], { activation: text('Mish') }, 'com.microsoft')),
    /the activation "Mish", expected one of Relu/,
  )
  const heads: Shape = [1, 2, 3, 4]
  refuses(() => define(nodeOf('Attention', [heads, heads, heads]), true), /the scores of Attention/)
  refuses(
    () =>
      define(
        nodeOf(
          'Attention',
          [
            [1, 3, 4],
            [4, 12],
          ],
          { do_rotary: 1 },
          'com.microsoft',
        ),
      ),
    /rotates its queries and keys/,
  )
})

test('layouts of one processor and quantized operators say why', () => {
  const of = (opType: string, domain: string) => () =>
    ruleFor(RULES, nodeOf(opType, [[1, 3, 4, 4]], {}, domain), 18)
  refuses(of('NhwcConv', 'com.microsoft'), /no rule for com.microsoft.NhwcConv .*: it computes in the layout/)
  refuses(of('QLinearConv', ''), /no rule for QLinearConv .*: it is quantized/)
})

test.run()
