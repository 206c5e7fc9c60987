/** Shadows: how far answers are from each other, numbers that are none among them. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseRouting } from '../../src/serve/repository/routing.ts'
import { relativeDifference } from '../../src/serve/shadows.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { gatherModel, publish, scaleModel } from './support/small-models.ts'
import { ask, closeAll, serve, temporaryFolder, until } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

const DIFFERENCES: readonly (readonly [a: number[], b: number[], difference: number])[] = [
  [[1, 2, 4], [1, 2, 4], 0],
  [[1, 2, 4], [1, 2, 5], 0.25],
  [[1, 2, -4], [3, 2, -4], 0.5],
  [[0, 0], [0, 0], 0],
  [[0, 0], [0, 1], Infinity],
  [[1], [1, 2], Infinity],
  // What is no number agrees with itself alone, and does not hide the rest.
  [[NaN, 4], [NaN, 4], 0],
  [[NaN, 4], [NaN, 5], 0.25],
  [[NaN, 4], [1, 4], Infinity],
  [[1, 4], [NaN, 4], Infinity],
  [[Infinity, 4], [Infinity, 5], 0.25],
  [[Infinity, 4], [-Infinity, 4], Infinity],
  [[Infinity, 4], [NaN, 4], Infinity],
  [[3, 4], [Infinity, 4], Infinity],
]

test('the relative difference', () => {
  const tensor = (values: readonly number[]) => Tensor.of('float32', [values.length], values)
  for (const [a, b, difference] of DIFFERENCES) {
    assert.is(relativeDifference(tensor(a), tensor(b)), difference, `${a.join()} and ${b.join()}`)
  }
})

/** Asks once for each row of a model with a shadow; gives the metrics when all were compared. */
async function compared(name: string, shadow: Uint8Array, rows: readonly number[][]): Promise<string> {
  const root = folder.path(name)
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  publish(`${root}/m/2/model.onnx`, shadow)
  const running = await serve([{ path: root, name: null }], { routing: parseRouting([], ['m:2']) })
  const { metrics } = running.server
  for (const row of rows) await ask(running, 'm', [row], { version: '1' })
  await until('all were compared', async () => {
    const { values } = await metrics.shadowRequests.get()
    return values.reduce((sum, { value }) => sum + value, 0) === rows.length
  })
  const text = await metrics.registry.metrics()
  await running.close()
  return text
}

const ROWS = [
  [1, 2, 3],
  [Infinity, 2, 3],
  [NaN, 2, 3],
]

test('a shadow that gives the same NaN agrees', async () => {
  const text = await compared('same', await scaleModel(2), ROWS)
  assert.match(text, /swa_onnx_shadow_requests_total\{.*result="compared"\} 3\n/)
  assert.not.match(text, /result="failed"/)
  assert.match(text, /swa_onnx_shadow_difference_bucket\{le="1e-7",.*output="y"\} 3\n/)
})

test('NaN on one side alone is an infinite difference, which is counted', async () => {
  // 0 * Infinity is NaN, 2 * Infinity is not.
  const text = await compared('other', await scaleModel(0), ROWS)
  assert.not.match(text, /result="failed"/)
  assert.match(text, /swa_onnx_shadow_difference_count\{.*output="y"\} 3\n/)
  // The first and the last row differ by as much as they are large: |2x - 0| / |2x| = 1.
  assert.match(text, /swa_onnx_shadow_difference_bucket\{le="1",.*output="y"\} 2\n/)
  assert.match(text, /swa_onnx_shadow_difference_sum\{.*output="y"\} 1000002\n/)
})

test('failed is a shadow that failed', async () => {
  // It has another input.
  const text = await compared('failed', await gatherModel(), ROWS)
  assert.match(text, /swa_onnx_shadow_requests_total\{.*result="failed"\} 3\n/)
  assert.not.match(text, /result="(compared|other_class)"/)
})

test.run()
