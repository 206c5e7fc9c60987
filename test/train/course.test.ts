/** The course of a run: batches and steps, and what early stopping makes of the schedule. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Course } from '../../src/train/course.ts'
import { afterValidation, FRESH } from '../../src/train/patience.ts'
import type { FinetunePlan } from '../../src/train/plan.ts'
import { bringForward, learningRateAt, planSchedule, snapshotsOf } from '../../src/train/schedules.ts'

const length = { epochs: 10, batchesPerEpoch: 10, batchSize: 32 }
const schedule = planSchedule(
  {
    lr: 1,
    stepping: 'batch',
    base: { kind: 'cosine' },
    swa: { start: '6ep', rate: { kind: 'swalr', lr: 0.1, anneal: '10ba', strategy: 'linear' } },
  },
  length,
)

test('an SWA phase that is brought forward keeps its length, and anneals from the rate that there is', () => {
  const plan = bringForward(schedule, 20)
  assert.is(plan.batches, 60)
  assert.equal(snapshotsOf(schedule), [80, 90, 100])
  assert.equal(snapshotsOf(plan), [40, 50, 60])
  // Until then nothing changes: PyTorch's cosine.
  for (let batch = 0; batch < 20; batch++)
    assert.is(learningRateAt(plan, batch), learningRateAt(schedule, batch))
  const there = (1 + Math.cos((Math.PI * 20) / 100)) / 2
  const half = learningRateAt(plan, 25)
  assert.ok(Math.abs(half - (there + 0.1) / 2) < 1e-15, String(half))
  assert.is(learningRateAt(plan, 59), 0.1)
  // It cannot be put off.
  assert.is(bringForward(schedule, 60), schedule)
})

test('batches make steps, and what is due is due after steps', () => {
  const plan = {
    ...{ schedule, batchesPerEpoch: 10, evalEvery: 5, settings: { accumulate: 4 } },
  } as unknown as FinetunePlan
  const course = new Course(plan)
  assert.equal([course.steps, course.batches], [100, 400])
  assert.equal(
    [1, 4, 5, 8].map(batch => [course.stepOf(batch), course.endsStep(batch)]),
    [
      [1, false],
      [1, true],
      [2, false],
      [2, true],
    ],
  )
  assert.is(course.learningRate(1), 1)
  assert.equal([course.isDue(5), course.isDue(6), course.isSnapshot(80)], [true, false, true])
  assert.equal([course.isBeforeSwa(59), course.isBeforeSwa(60)], [true, false])
  const stopped = new Course(plan, 20)
  assert.equal([stopped.steps, stopped.batches, stopped.isBeforeSwa(20)], [60, 240, false])
})

test('patience counts validations since the best', () => {
  let patience = FRESH
  const misses = [0.5, 0.5, 0.4, 0.6, 0.1, 0.2].map(score => {
    patience = afterValidation(patience, score)
    return patience.misses
  })
  assert.equal(misses, [0, 1, 2, 0, 1, 2])
  assert.is(patience.best, 0.6)
})

test.run()
