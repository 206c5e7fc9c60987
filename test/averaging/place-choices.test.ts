/** `--map` and `--ignore`: what they do, and what is wrong with them. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, type AverageOptions } from '../../src/averaging/index.ts'
import { at, membersOf, refusal } from './support/placing.ts'

const test = suite('averaging: choices of places')

test('maps that are wrong, patterns that match nothing, choices without a model', async () => {
  const into = at('mlp-ts.onnx')
  const cases: [AverageOptions, string][] = [
    [
      { map: [['last.wieght', 'onnx::MatMul_37']] },
      '--map last.wieght=onnx::MatMul_37: mlp-1.safetensors has no tensor "last.wieght" | write --map NAME=PLACE with a name of the checkpoint and a name of the model',
    ],
    [
      { map: [['fc.bias', 'onnx::MatMul_37']] },
      '--map fc.bias=onnx::MatMul_37: mlp-1.safetensors has no tensor "fc.bias"; it has "back.bias", "first.bias", "last.bias", "left.bias", "norm.bias" | write --map NAME=PLACE with a name of the checkpoint and a name of the model',
    ],
    [
      { map: [['last.weight', 'nothing']] },
      '--map last.weight=nothing: mlp-ts.onnx has no tensor "nothing" | write --map NAME=PLACE with a name of the checkpoint and a name of the model',
    ],
    [
      { map: [['last.weight', 'onnx::MatMul_36']] },
      '--map last.weight=onnx::MatMul_36: expected float32[16,12] as in mlp-ts.onnx, found float32[5,12] in mlp-1.safetensors | types must be equal, and shapes equal or transposed',
    ],
    [
      { map: [['back.bias.T', 'back.bias']] },
      '--map back.bias.T=back.bias: expected the transpose of float32[12] as in mlp-ts.onnx, found float32[12] in mlp-1.safetensors | types must be equal, and shapes equal or transposed',
    ],
    [
      { map: [['left.weight', 'onnx::MatMul_34']] },
      '--map left.weight=onnx::MatMul_34: the values of "onnx::MatMul_34" in mlp-ts.onnx are near to the transpose of "left.weight", not to it | write --map left.weight.T=onnx::MatMul_34',
    ],
    [
      {
        map: [
          ['left.weight.T', 'onnx::MatMul_34'],
          ['left.weight.T', 'onnx::MatMul_35'],
        ],
      },
      '--map: tensor "left.weight" has two places: "onnx::MatMul_34" and "onnx::MatMul_35"',
    ],
    [
      {
        map: [
          ['left.weight.T', 'onnx::MatMul_34'],
          ['right.weight.T', 'onnx::MatMul_34'],
        ],
      },
      '--map: place "onnx::MatMul_34" has two tensors: "left.weight" and "right.weight"',
    ],
    [
      { map: [['last.weight', 'onnx::MatMul_37']], ignore: ['last.*'] },
      '--map last.weight=onnx::MatMul_37: tensor "last.weight" is left out by --ignore "last.*"',
    ],
    [
      { ignore: ['head.*'] },
      '--ignore: "head.*" matches none of the 12 tensors of mlp-1.safetensors | --dry-run lists their names; * stands for any text',
    ],
  ]
  for (const [options, expected] of cases)
    assert.is(await refusal(membersOf('mlp'), { into, ...options }), expected)
  assert.is(
    await refusal(membersOf('mlp'), { ignore: ['last.*'] }),
    '--ignore: expected a model that receives the average | name it with --into model.onnx',
  )
  assert.is(
    await refusal(membersOf('mlp'), { map: [['a', 'b']] }),
    '--map: expected a model that receives the average | name it with --into model.onnx',
  )
})

test('what was to be ignored is left out, and the weights that stay are named', async () => {
  const plan = await planAverage(membersOf('mlp'), {
    into: at('mlp-ts.onnx'),
    ignore: ['last.*', 'norm.bias'],
  })
  const dropped = plan.tensors.filter(({ policy }) => policy === 'drop')
  assert.equal(
    dropped.map(({ name, reason }) => `${name}: ${reason}`),
    [
      'last.bias: left out by --ignore "last.*"',
      'last.weight: left out by --ignore "last.*"',
      'norm.bias: left out by --ignore "norm.bias"',
    ],
  )
  assert.equal(
    plan.warnings.map(text => text.replace(/\S*\//g, '')),
    [
      '3 weights of mlp-ts.onnx stay as they are, as no tensor of mlp-1.safetensors goes into them: "norm.bias", "last.bias", "onnx::MatMul_37"',
    ],
  )
})

test.run()
