/** Learning rates against PyTorch, the paper and the golden vectors of facts/averaging.md; when snapshots are taken. */

import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  isSnapshot,
  learningRateAt,
  planSchedule,
  snapshotsOf,
  type BaseSpec,
  type ScheduleSpec,
  type SwaSpec,
} from '../../src/train/schedules.ts'
import { UsageError } from '../../src/util/errors.ts'
import { assertClose } from '../support/close.ts'

const test = suite('train: schedules')

/** A run in which an epoch is a batch, so that steps are batches. */
const steps = (count: number) => ({ epochs: count, batchesPerEpoch: 1, batchSize: 8 })

function rates(spec: ScheduleSpec, count: number, from = 0): number[] {
  const plan = planSchedule(spec, steps(from + count))
  // A plan is JSON.
  assert.equal(JSON.parse(JSON.stringify(plan)), plan)
  return Array.from({ length: count }, (_, k) => learningRateAt(plan, from + k))
}

const swaOnly = (lr: number, rate: SwaSpec['rate']): ScheduleSpec => ({
  lr,
  stepping: 'epoch',
  base: { kind: 'constant' },
  swa: { start: '0ep', rate, every: '1ba', from: 'start' },
})

/** Equal when printed with `digits` decimals. */
function assertPrinted(actual: readonly number[], golden: readonly number[], digits: number, what: string) {
  assert.equal(
    actual.map(x => x.toFixed(digits)),
    golden.map(x => x.toFixed(digits)),
    what,
  )
}

test('golden vectors: SWALR', () => {
  const swalr = (lr0: number, lr: number, epochs: number, strategy: 'cos' | 'linear', count: number) =>
    rates(swaOnly(lr0, { kind: 'swalr', lr, anneal: `${epochs}ep`, strategy }), count)
  assertPrinted(
    swalr(0.1, 0.05, 10, 'cos', 13),
    [
      0.1, 0.09877641, 0.09522542, 0.08969463, 0.08272542, 0.075, 0.06727458, 0.06030537, 0.05477458,
      0.05122359, 0.05, 0.05, 0.05,
    ],
    8,
    'cos',
  )
  assertPrinted(
    swalr(0.1, 0.05, 10, 'linear', 13),
    [0.1, 0.095, 0.09, 0.085, 0.08, 0.075, 0.07, 0.065, 0.06, 0.055, 0.05, 0.05, 0.05],
    15,
    'linear',
  )
  assertPrinted(
    swalr(0.01, 0.05, 4, 'cos', 6),
    [0.01, 0.01585786, 0.03, 0.04414214, 0.05, 0.05],
    8,
    'cos upward',
  )
  assert.equal(swalr(0.1, 0.05, 0, 'cos', 3), [0.05, 0.05, 0.05])
  assert.equal(swalr(0.1, 0.05, 1, 'cos', 3), [0.1, 0.05, 0.05])
})

test("golden vectors: the schedule of timgaripov/swa and the paper's cyclic one", () => {
  const garipov = planSchedule(
    {
      lr: 0.1,
      stepping: 'epoch',
      base: { kind: 'timgaripov', endLr: 0.05 },
      swa: { start: '161ep', rate: { kind: 'base' } },
    },
    steps(200),
  )
  const epochs = [0, 80, 81, 100, 120, 144, 145, 161, 199]
  assertPrinted(
    epochs.map(epoch => learningRateAt(garipov, epoch)),
    [0.1, 0.1, 0.0996118, 0.08486025, 0.0693323, 0.05069876, 0.05, 0.05, 0.05].map(x => Number(x.toFixed(8))),
    7,
    'timgaripov',
  )
  const cyclic = rates(swaOnly(0.1, { kind: 'cyclic', high: 0.05, low: 0.01, cycle: '5ba' }), 6)
  assertPrinted(cyclic, [0.042, 0.034, 0.026, 0.018, 0.01, 0.042], 15, 'cyclic')
})

interface Fixture {
  readonly name: string
  readonly schedule: string
  readonly parameters: Readonly<Record<string, number | string | number[]>>
  readonly lrs: readonly (number | number[])[]
}

const FIXTURES = (
  JSON.parse(readFileSync(new URL('../../fixtures/schedules/index.json', import.meta.url), 'utf8')) as {
    cases: Fixture[]
  }
).cases

/** The spec of a fixture; `group` chooses a parameter group where there are several. */
function specOf({ schedule, parameters }: Fixture, group: number): ScheduleSpec {
  const number = (key: string) => {
    const value = parameters[key]
    return Array.isArray(value) ? value[group]! : Number(value)
  }
  const lr = number('lr0')
  const bases: Record<string, () => BaseSpec> = {
    cosine: () => ({ kind: 'cosine', etaMin: number('eta_min'), over: `${number('T_max')}ep` }),
    linear: () => ({
      kind: 'linear',
      startFactor: number('start_factor'),
      endFactor: number('end_factor'),
      over: `${number('total_iters')}ep`,
    }),
    // ConstantLR is a step up from factor · lr.
    constant: () => ({
      kind: 'multistep',
      milestones: [`${number('total_iters')}ep`],
      gamma: 1 / number('factor'),
    }),
    step: () => ({ kind: 'step', every: `${number('step_size')}ep`, gamma: number('gamma') }),
    multistep: () => ({
      kind: 'multistep',
      milestones: (parameters.milestones as number[]).map(at => `${at}ep`),
      gamma: number('gamma'),
    }),
  }
  if (schedule === 'swalr') {
    const strategy = parameters.anneal_strategy as 'cos' | 'linear'
    return swaOnly(lr, {
      kind: 'swalr',
      lr: number('swa_lr'),
      anneal: `${number('anneal_epochs')}ep`,
      strategy,
    })
  }
  const [first, second] = schedule.split('+')
  const base = bases[second ?? first!]!()
  if (!second) return { lr: schedule === 'constant' ? lr * number('factor') : lr, stepping: 'epoch', base }
  const warmup = { over: `${number('warmup')}ep`, startFactor: number('start_factor') }
  return { lr, stepping: 'epoch', base, warmup }
}

test('every PyTorch fixture to 1e-12', () => {
  assert.ok(FIXTURES.length >= 19)
  for (const fixture of FIXTURES) {
    const groups = Array.isArray(fixture.parameters.lr0) ? fixture.parameters.lr0.length : 1
    for (let group = 0; group < groups; group++) {
      const expected = fixture.lrs.map(row => (Array.isArray(row) ? row[group]! : row))
      const actual = rates(specOf(fixture, group), expected.length)
      assertClose(actual, expected, { relative: 1e-12, absolute: 1e-17 }, `${fixture.name}, group ${group}`)
    }
  }
})

test('epoch steps change the rate once an epoch, batch steps each batch', () => {
  const run = { epochs: 4, batchesPerEpoch: 10, batchSize: 8 }
  const base = { kind: 'linear', startFactor: 1, endFactor: 0 } as const
  const perEpoch = planSchedule({ lr: 1, stepping: 'epoch', base }, run)
  assert.equal(
    [0, 9, 10, 19, 20, 39].map(b => learningRateAt(perEpoch, b)),
    [1, 1, 0.75, 0.75, 0.5, 0.25],
  )
  const perBatch = planSchedule({ lr: 1, stepping: 'batch', base }, run)
  assert.equal(
    [0, 10, 20, 39].map(b => learningRateAt(perBatch, b)),
    [1, 0.75, 0.5, 1 - 39 / 40],
  )
  const warm = planSchedule(
    { lr: 1, stepping: 'batch', base, warmup: { over: '1ep', startFactor: 0.5 } },
    run,
  )
  assert.equal(
    [0, 5, 10, 25].map(b => learningRateAt(warm, b)),
    [0.5, 0.75, 1, 0.5],
  )
})

test('SWALR starts from the base rate at swa-start; epochs anneal stepwise, batches smoothly', () => {
  const run = { epochs: 8, batchesPerEpoch: 10, batchSize: 8 }
  const spec = (anneal: string): ScheduleSpec => ({
    lr: 1,
    stepping: 'batch',
    base: { kind: 'linear', endFactor: 0 },
    swa: { start: '0.5dur', rate: { kind: 'swalr', lr: 0.1, anneal, strategy: 'linear' } },
  })
  const epochs = planSchedule(spec('2ep'), run)
  const at = (batches: number[]) => batches.map(b => learningRateAt(epochs, b))
  assertClose(
    at([39, 40, 49, 50, 59, 60, 79]),
    [41 / 80, 0.5, 0.5, 0.3, 0.3, 0.1, 0.1],
    { relative: 1e-15 },
    'ep',
  )
  const batches = planSchedule(spec('20ba'), run)
  assertClose(
    [40, 45, 50, 60].map(b => learningRateAt(batches, b)),
    [0.5, 0.4, 0.3, 0.1],
    { relative: 1e-15 },
    'ba',
  )
  assert.equal(snapshotsOf(epochs), [70, 80])
  assert.is(learningRateAt(planSchedule(spec('0ep'), run), 40), 0.1)
})

test("the paper's constant rate holds from swa-start on", () => {
  const plan = planSchedule(
    {
      lr: 1,
      stepping: 'batch',
      base: { kind: 'constant' },
      swa: { start: '5ba', rate: { kind: 'constant', lr: 0.2 }, every: '1ba' },
    },
    steps(8),
  )
  assert.equal(
    Array.from({ length: 8 }, (_, b) => learningRateAt(plan, b)),
    [1, 1, 1, 1, 1, 0.2, 0.2, 0.2],
  )
})

test('snapshots: epochs, batches, cycles, from swa-start or after the anneal', () => {
  const run = { epochs: 8, batchesPerEpoch: 10, batchSize: 8 }
  const taken = (swa: SwaSpec) => {
    const plan = planSchedule({ lr: 1, stepping: 'batch', base: { kind: 'constant' }, swa }, run)
    const listed = snapshotsOf(plan)
    const asked = Array.from({ length: 81 }, (_, done) => done).filter(done => isSnapshot(plan, done))
    assert.equal(asked, listed)
    return listed
  }
  const constant = { kind: 'constant', lr: 0.1 } as const
  const swalr = { kind: 'swalr', lr: 0.1, anneal: '2ep', strategy: 'cos' } as const
  const cyclic = { kind: 'cyclic', high: 0.1, low: 0.01, cycle: '15ba' } as const
  assert.equal(taken({ start: '5ep', rate: constant }), [60, 70, 80])
  assert.equal(taken({ start: '5ep', rate: constant, includeFirst: true }), [50, 60, 70, 80])
  assert.equal(taken({ start: '53ba', rate: constant }), [60, 70, 80])
  assert.equal(taken({ start: '53ba', rate: constant, every: '8ba' }), [61, 69, 77])
  assert.equal(taken({ start: '53ba', rate: constant, every: '2ep' }), [70])
  assert.equal(taken({ start: '4ep', rate: swalr }), [70, 80])
  assert.equal(taken({ start: '4ep', rate: swalr, includeFirst: true }), [60, 70, 80])
  assert.equal(taken({ start: '4ep', rate: swalr, from: 'start' }), [50, 60, 70, 80])
  assert.equal(taken({ start: '33ba', rate: cyclic }), [48, 63, 78])
  assert.equal(taken({ start: '33ba', rate: { ...cyclic, cycle: '1ep' } }), [43, 53, 63, 73])
  assert.equal(taken({ start: '0ba', rate: constant, every: '0.25dur' }), [20, 40, 60, 80])
  // The rate is lowest in the batch before each snapshot of a cyclic schedule.
  const plan = planSchedule(
    { lr: 1, stepping: 'batch', base: { kind: 'constant' }, swa: { start: '33ba', rate: cyclic } },
    run,
  )
  for (const done of snapshotsOf(plan)) assert.is(learningRateAt(plan, done - 1), 0.01)
})

test('what is not said fits short runs: anneal, cycle and snapshots', () => {
  const swalr = { kind: 'swalr', lr: 0.005, strategy: 'cos' } as const
  const cyclic = { kind: 'cyclic', high: 0.01, low: 0.005 } as const
  const rows = [
    [1, 8, swalr, [6, 7, 8]],
    [2, 8, swalr, [13, 15]],
    [2, 100, swalr, [170, 200]],
    [0.5, 100, swalr, [42, 49]],
    [10, 100, swalr, [800, 900, 1000]],
    [2, 100, cyclic, [160, 200]],
    [10, 100, cyclic, [700, 800, 900, 1000]],
  ] as const
  for (const [epochs, batchesPerEpoch, rate, expected] of rows) {
    const spec: ScheduleSpec = {
      lr: 0.01,
      stepping: 'batch',
      base: { kind: 'constant' },
      swa: { start: '0.6dur', rate },
    }
    const plan = planSchedule(spec, { epochs, batchesPerEpoch, batchSize: 32 })
    assert.equal(snapshotsOf(plan), expected, `${epochs} epochs of ${batchesPerEpoch}, ${rate.kind}`)
  }
})

test('plans that make no sense are refused', () => {
  const run = { epochs: 8, batchesPerEpoch: 10, batchSize: 8 }
  const message = (spec: Partial<ScheduleSpec>, length = run) => {
    try {
      planSchedule({ lr: 1, stepping: 'batch', base: { kind: 'constant' }, ...spec }, length)
    } catch (error) {
      if (error instanceof UsageError) return error.message
      throw error
    }
    return 'accepted'
  }
  const constant = { kind: 'constant', lr: 0.1 } as const
  assert.is(message({ lr: -1 }), 'schedule: lr should be a positive number, found -1')
  assert.is(message({}, { ...run, epochs: 0.01 }), 'schedule: a run of 0.01 epochs has no batch')
  assert.is(
    message({ base: { kind: 'cosine', etaMin: 2 } }),
    'schedule: eta-min should be between 0 and 1, found 2',
  )
  assert.is(
    message({ base: { kind: 'linear', endFactor: -1 } }),
    'schedule: linear end factor should be at least 0, found -1',
  )
  assert.is(
    message({ swa: { start: '9ep', rate: constant } }),
    'swa-start: 9ep is batch 90, expected a time inside the run of 8ep = 80ba',
  )
  assert.is(
    message({
      swa: { start: '0.75dur', rate: { kind: 'swalr', lr: 0.1, anneal: '2ep', strategy: 'cos' } },
    }),
    'schedule: no snapshot would be taken: averaging begins after batch 80, the first snapshot is due after batch 81, and the run ends after batch 80',
  )
})

test.run()
