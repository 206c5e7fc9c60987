/** How many steps are worth one run, for devices of which the costs are known. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ChunkSize } from '../../../src/runtime/ort/chunk-size.ts'

/** Follows the advice on a device whose runs of n steps take overhead + n · step milliseconds; returns what was sent. */
function follow(overhead: number, step: number, size = new ChunkSize(), runs = 8): number[] {
  const sent: number[] = []
  for (let i = 0; i < runs; i++) {
    sent.push(size.chunk)
    // The first run is slow, and so is now and then another.
    const disturbed = i === 0 ? 900 : i === 2 ? 30 : 0
    size.observe(size.chunk, overhead + step * size.chunk + disturbed)
  }
  return sent
}

test('a warm-up, two runs of one step, two of four, then the least at which the overhead is 5 %', () => {
  assert.equal(follow(10, 20), [1, 1, 1, 4, 4, 10, 10, 10])
  assert.equal(follow(50, 25).at(-1), 40)
})

test('a step that dwarfs the overhead needs no chunk', () => {
  assert.is(follow(4, 100).at(-1), 1)
  assert.is(follow(0, 100).at(-1), 1)
})

test('there is a largest chunk', () => {
  assert.is(follow(1000, 1).at(-1), 256)
  assert.is(follow(1000, 0).at(-1), 256)
})

test('memory has the last word', () => {
  const size = new ChunkSize()
  size.limitTo(3)
  assert.equal(follow(10, 20, size), [1, 1, 1, 3, 3, 3, 3, 3])
  size.limitTo(2)
  assert.is(size.chunk, 2)
  size.limitTo(5)
  assert.is(size.chunk, 2, 'a limit is never taken back')
  size.limitTo(0)
  assert.is(size.chunk, 1)
})

test('a caller who sends other chunks is learned from as well', () => {
  const size = new ChunkSize()
  for (const steps of [5, 1, 2, 1, 7, 7]) size.observe(steps, 10 + 20 * steps)
  assert.is(size.chunk, 10)
  const alone = new ChunkSize()
  for (let i = 0; i < 9; i++) alone.observe(7, 150)
  assert.is(alone.chunk, 1, 'one size alone tells nothing')
})

test.run()
