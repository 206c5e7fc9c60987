/** The checker itself: a wrong rule fails, and the message says where. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RULES } from '../../src/autodiff/index.ts'
import { rule, type GradientRule } from '../../src/autodiff/rule.ts'
import { checkGrads } from '../support/check-grads.ts'
import { rowName, type GradRow } from '../support/grad-row.ts'

/** The message that a wrong rule for Mul leads to. */
async function failure(gradient: GradientRule, row: Partial<GradRow> = {}): Promise<string> {
  const rules = { ...RULES, Mul: rule(gradient) }
  try {
    await checkGrads({
      op: 'Mul',
      inputs: [
        [2, 3],
        [2, 3],
      ],
      rules,
      ...row,
    })
  } catch (error) {
    return (error as Error).message
  }
  return 'passed'
}

const right: GradientRule = ({ op, node, dy }) => [op.Mul(dy, node.input(1)), op.Mul(dy, node.input(0))]

test('a right rule passes', async () => {
  assert.is(await failure(right), 'passed')
})

test('one wrong element of one input: operator, input, both numbers, tolerance, seed, table and graph', async () => {
  const wrong: GradientRule = context => {
    const { op, dy } = context
    const off = op.Cast(op.floats([2, 3], [0, 0, 0, 0, 0.1, 0]), dy.dtype)
    return [right(context)[0]!, op.Add(right(context)[1]!, off)]
  }
  const message = await failure(wrong)
  assert.match(
    message,
    /^Mul \(2x3, 2x3\): gradient of input 1 along direction 0 is [-\d.]+, expected [-\d.]+ \(tolerance 0.000001, float64, seed 20260801\)\n/,
  )
  assert.match(message, /\n {2}element +input +found +expected\n {8}0 /)
  assert.match(message, /Mul_0_grad\/Mul_\d+<float64,\[2,3\]> = Mul/)
  const elements = [...message.matchAll(/^ {2,}(\d) +\S+ +(\S+) +(\S+)$/gm)]
  assert.equal(
    elements
      .filter(([, , found, expected]) => Math.abs(Number(found) - Number(expected)) > 1e-4)
      .map(row => row[1]),
    ['4'],
  )
})

test('NaN fails', async () => {
  const nan: GradientRule = ({ op, dy }) => {
    const zero = op.scalarLike(dy, 0)
    return [op.Div(op.Mul(dy, zero), zero), dy]
  }
  assert.match(await failure(nan), /gradient of input 0 along direction 0 is NaN, expected/)
})

test('a gradient that depends on who else needs one fails', async () => {
  const careless: GradientRule = context =>
    context.needs(1) ? right(context) : [context.op.Mul(right(context)[0]!, context.dy), null]
  assert.match(
    await failure(careless),
    /^Mul \(2x3, 2x3\): gradient of input 0 changes at element 0 from \S+ to \S+ when input 1 needs none \(seed 20260801\)$/,
  )
})

test('rows are named by operator, attributes and shapes', () => {
  const constant = { shape: [2], dtype: 'int64', values: [0, 1], constant: true } as const
  const row = { op: 'Foo', attributes: { axes: [0, 1], mode: 'x' }, inputs: [[2, 3], null, [], constant] }
  assert.is(rowName(row), 'Foo {axes=[0,1] mode=x} (2x3, _, scalar, [0,1])')
})

test.run()
