/** Whole weights and the order of members. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isLater, lastMember, ordinalOf, sortMembers } from '../../src/averaging/members.ts'
import { wholeWeights } from '../../src/averaging/weights.ts'

const test = suite('averaging: members')

test('weights become the smallest whole numbers of the same ratio', () => {
  assert.equal(wholeWeights([1, 1, 1]), [1, 1, 1])
  assert.equal(wholeWeights([0.3, 0.7]), [3, 7])
  assert.equal(wholeWeights([0.1, 0.2, 0.3]), [1, 2, 3])
  assert.equal(wholeWeights([2, 4, 6]), [1, 2, 3])
  assert.equal(wholeWeights([1e-7, 2.5e-7]), [2, 5])
  assert.equal(wholeWeights([1000000, 1]), [1000000, 1])
  assert.equal(wholeWeights([1e21, 2e21]), [1, 2])
  assert.equal(wholeWeights([12.5]), [1])
  assert.throws(() => wholeWeights([1, 2 ** 28]), /sum up to 268435457, expected at most 2\^28/)
  assert.throws(() => wholeWeights([1, Infinity]), /found Infinity/)
  assert.throws(() => wholeWeights([1, 0]), /found 0/)
  assert.equal(wholeWeights([-0.5, 1.5]), [-1, 3])
  assert.throws(() => wholeWeights([-1]), /should have a sum above 0/)
})

test('the ordinal of a file is the last number in its name', () => {
  assert.equal(
    ['run/v2/epoch-7.onnx', 'step-00120.safetensors', 'a.onnx', 'v3-step12-final.onnx', '9'].map(ordinalOf),
    [7, 120, 0, 12, 9],
  )
})

test('the last member: by ordinal, name and hash, whatever the order', () => {
  const member = (name: string, ordinal: number, digest: string) => ({ name, ordinal, digest, weight: 1 })
  const members = [member('b', 1, 'x'), member('a', 2, 'y'), member('b', 2, 'z'), member('b', 2, 'w')]
  for (const order of [members, [...members].reverse()]) {
    assert.is(lastMember(order).digest, 'z')
    assert.is(
      sortMembers(order)
        .map(({ digest }) => digest)
        .join(''),
      'wxyz',
    )
  }
  assert.ok(isLater(member('a', 10, 'a'), member('b', 9, 'b')))
  assert.throws(() => lastMember([]), /it has no members/)
})

test.run()
