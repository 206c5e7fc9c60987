import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { classifyWeights } from '../../src/passes/index.ts'
import { buildModel, floats, int64s } from './support/build.ts'

const [ones, zeros] = [floats([3], [1, 1, 1]), floats([3], [0, 0, 0])]

test('ones and zeros in the InstanceNormalization of a group normalization are not learned', async () => {
  const model = buildModel({
    inputs: { x: ['N', 6, 4, 4] },
    weights: { groups: int64s(0, 3, -1), one: ones, zero: zeros },
    nodes: [
      ['Reshape', ['x', 'groups'], ['g']],
      ['InstanceNormalization', ['g', 'one', 'zero'], ['y']],
    ],
    outputs: ['y'],
  })
  const [, scale, bias] = await classifyWeights(model)
  assert.is(scale!.role, 'constant')
  assert.is(bias!.role, 'constant')
  assert.is(bias!.reason, 'fills a place in InstanceNormalization "InstanceNormalization_1"')
})

test('a fresh InstanceNormalization of its own is learned', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3, 4, 4] },
    weights: { s: ones, b: zeros },
    nodes: [['InstanceNormalization', ['x', 's', 'b'], ['y']]],
    outputs: ['y'],
  })
  const weights = await classifyWeights(model)
  assert.equal(
    weights.map(({ role, reason }) => `${role}, ${reason}`),
    [
      'parameter, scale of InstanceNormalization "InstanceNormalization_0"',
      'parameter, bias of InstanceNormalization "InstanceNormalization_0"',
    ],
  )
})

test.run()
