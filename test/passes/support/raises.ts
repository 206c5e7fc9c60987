/** Runs a model before and after it is raised. */

import * as assert from 'uvu/assert'
import type { Model } from '../../../src/ir/graph.ts'
import { cloneModel, raiseOpset, verify } from '../../../src/passes/index.ts'
import { runModel, type Feeds } from './run.ts'

/** Runs a model before and after: equal outputs, bit for bit, and no operator form older than 18. */
export async function assertRaises(model: Model, feeds: Feeds): Promise<Model> {
  const { model: raised } = cloneModel(model)
  assert.is(raiseOpset(raised).modified, true)
  verify(raised.graph)
  assert.is(raised.opset, 18)
  const expected = await runModel(model, feeds)
  const actual = await runModel(raised, feeds)
  for (const [name, tensor] of expected) {
    const found = actual.get(name)!
    assert.is(found.dtype, tensor.dtype, `${name}: dtype`)
    assert.equal([...found.dims], [...tensor.dims], `${name}: dims`)
    assert.equal(found.toNumbers(), tensor.toNumbers(), `${name}: elements`)
  }
  return raised
}
