/**
 * Learning rates as functions of the batch index, in float64. A spec (JSON, times as text) and the length of the run give
 * a plan (JSON, times in steps), and the plan gives the rate of any batch without history: resuming needs no state.
 */

import { UsageError } from '../util/errors.ts'
import { parseTime, resolveLength, resolvePoint, totalBatches, type RunLength } from './time.ts'

/** The schedule up to swa-start, or of the whole run. Formulas are PyTorch's closed forms; k counts steps. */
export type BaseSpec =
  | { readonly kind: 'constant' }
  /** CosineAnnealingLR; `over` is T_max, by default the rest of the run; beyond it the rate rises again. */
  | { readonly kind: 'cosine'; readonly etaMin?: number; readonly over?: string }
  /** LinearLR; `over` is total_iters, by default the rest of the run. */
  | {
      readonly kind: 'linear'
      readonly startFactor?: number
      readonly endFactor: number
      readonly over?: string
    }
  /** StepLR. */
  | { readonly kind: 'step'; readonly every: string; readonly gamma: number }
  /** MultiStepLR. */
  | { readonly kind: 'multistep'; readonly milestones: readonly string[]; readonly gamma: number }
  /** timgaripov/swa train.py: flat, then linear to `endLr` between half and nine tenths of the way to swa-start. */
  | { readonly kind: 'timgaripov'; readonly endLr: number }

/** LinearLR from startFactor to 1, before the base schedule, which then starts from its own step 0 (SequentialLR). */
export interface WarmupSpec {
  readonly over: string
  readonly startFactor: number
}

/** The rates from swa-start on. */
export type SwaRateSpec =
  /** The base schedule goes on (Composer's default). */
  | { readonly kind: 'base' }
  /** PyTorch's SWALR; an anneal in epochs steps once an epoch, in other units once a batch. */
  | {
      readonly kind: 'swalr'
      readonly lr: number
      /** By default an epoch, or a quarter of a shorter SWA phase. */
      readonly anneal?: string
      readonly strategy: 'cos' | 'linear'
    }
  /** The paper's constant schedule. */
  | { readonly kind: 'constant'; readonly lr: number }
  /** The paper's cyclic schedule: each cycle falls from `high` to `low`, where the snapshot is taken. */
  | {
      readonly kind: 'cyclic'
      readonly high: number
      readonly low: number
      /** By default an epoch, or half of a shorter SWA phase. */
      readonly cycle?: string
    }

export interface SwaSpec {
  readonly start: string
  readonly rate: SwaRateSpec
  /** Time between snapshots; by default a cycle, or an epoch, or half of a shorter rest of the run. */
  readonly every?: string
  /** Whether averaging begins at swa-start or when the anneal is over; default `anneal`. */
  readonly from?: 'start' | 'anneal'
  /** Whether the weights at that very point count, before any step at the SWA rate; default no. */
  readonly includeFirst?: boolean
}

export interface ScheduleSpec {
  readonly lr: number
  /** Whether the base schedule steps each batch or each epoch. */
  readonly stepping: 'batch' | 'epoch'
  readonly base: BaseSpec
  readonly warmup?: WarmupSpec
  readonly swa?: SwaSpec
}

type BasePlan =
  | { readonly kind: 'constant' }
  | { readonly kind: 'cosine'; readonly etaMin: number; readonly over: number }
  | {
      readonly kind: 'linear'
      readonly startFactor: number
      readonly endFactor: number
      readonly over: number
    }
  | { readonly kind: 'step'; readonly every: number; readonly gamma: number }
  | { readonly kind: 'multistep'; readonly milestones: readonly number[]; readonly gamma: number }
  | { readonly kind: 'timgaripov'; readonly ratio: number; readonly over: number }

type SwaRatePlan =
  | { readonly kind: 'base' }
  /** `anneal` in steps of `batchesPerStep` batches. */
  | {
      readonly kind: 'swalr'
      readonly lr: number
      readonly startLr: number
      readonly anneal: number
      readonly batchesPerStep: number
      readonly strategy: 'cos' | 'linear'
    }
  | { readonly kind: 'cyclic'; readonly high: number; readonly low: number; readonly cycle: number }

export interface SchedulePlan {
  readonly lr: number
  readonly batches: number
  /** Batches of one step of the base schedule. */
  readonly batchesPerStep: number
  readonly warmup: { readonly over: number; readonly startFactor: number } | null
  readonly base: BasePlan
  readonly swa: {
    /** Batches done at swa-start. */
    readonly start: number
    readonly rate: SwaRatePlan
    /** Snapshots are taken after `first`, `first + every`, ... batches. */
    readonly first: number
    readonly every: number
    /** An additional one before them, or null. */
    readonly initial: number | null
  } | null
}

/** Resolves a spec against the length of the run. */
export function planSchedule(spec: ScheduleSpec, run: RunLength): SchedulePlan {
  const batches = totalBatches(run)
  if (batches < 1) throw new UsageError(`schedule: a run of ${run.epochs} epochs has no batch`)
  const batchesPerStep = spec.stepping === 'epoch' ? run.batchesPerEpoch : 1
  const steps = (length: number) => Math.max(1, Math.round(length / batchesPerStep))
  const swaStart = spec.swa ? resolvePoint(spec.swa.start, run, 'swa-start') : batches
  const warmup = spec.warmup
    ? {
        over: steps(resolveLength(spec.warmup.over, run, 'warm-up')),
        startFactor: inRange('warm-up start factor', spec.warmup.startFactor, 0, 1),
      }
    : null
  const rest = Math.max(1, Math.ceil(batches / batchesPerStep) - (warmup?.over ?? 0))
  const lr = positive('lr', spec.lr)
  const base = planBase(spec.base, lr, rest, Math.max(1, swaStart / batchesPerStep), (text, what) =>
    steps(resolveLength(text, run, what)),
  )
  const plan = { lr, batches, batchesPerStep, warmup, base, swa: null }
  return spec.swa ? { ...plan, swa: planSwa(spec.swa, swaStart, run, baseRateAt(plan, swaStart)) } : plan
}

function planBase(
  spec: BaseSpec,
  lr: number,
  rest: number,
  swaStart: number,
  steps: (text: string, what: string) => number,
): BasePlan {
  switch (spec.kind) {
    case 'constant':
      return spec
    case 'cosine': {
      const over = spec.over === undefined ? rest : steps(spec.over, 'cosine length')
      return { kind: 'cosine', etaMin: inRange('eta-min', spec.etaMin ?? 0, 0, lr), over }
    }
    case 'linear': {
      const over = spec.over === undefined ? rest : steps(spec.over, 'linear length')
      const startFactor = inRange('linear start factor', spec.startFactor ?? 1, 0, Infinity)
      return {
        kind: 'linear',
        startFactor,
        endFactor: inRange('linear end factor', spec.endFactor, 0, Infinity),
        over,
      }
    }
    case 'step':
      return { kind: 'step', every: steps(spec.every, 'step length'), gamma: positive('gamma', spec.gamma) }
    case 'multistep': {
      const milestones = spec.milestones.map(text => steps(text, 'milestone')).sort((a, b) => a - b)
      return { kind: 'multistep', milestones, gamma: positive('gamma', spec.gamma) }
    }
    case 'timgaripov':
      return { kind: 'timgaripov', ratio: positive('swa-lr', spec.endLr) / lr, over: swaStart }
  }
}

function planSwa(spec: SwaSpec, start: number, run: RunLength, startLr: number): SchedulePlan['swa'] {
  const { rate: rateSpec, from = 'anneal', includeFirst = false } = spec
  const total = totalBatches(run)
  const rate = planRate(rateSpec, run, startLr, total - start)
  const origin = start + (from === 'anneal' && rate.kind === 'swalr' ? rate.anneal * rate.batchesPerStep : 0)
  const everyText =
    spec.every ?? (rate.kind === 'cyclic' ? `${rate.cycle}ba` : epochOrPart(run, total - origin, 2))
  const every = resolveLength(everyText, run, 'snapshot interval')
  // Intervals in epochs end where epochs end, also when averaging begins in the middle of one; cycles end where they end.
  const inEpochs = parseTime(everyText, 'snapshot interval').unit === 'ep' && rate.kind !== 'cyclic'
  const aligned = inEpochs ? Math.floor(origin / run.batchesPerEpoch) * run.batchesPerEpoch : origin
  const plan = {
    start,
    rate,
    first: aligned + every,
    every,
    initial: includeFirst && origin > 0 ? origin : null,
  }
  if (plan.first > total && (plan.initial === null || plan.initial > total)) {
    throw new UsageError(
      `schedule: no snapshot would be taken: averaging begins after batch ${origin}, the first snapshot is due after batch ${plan.first}, and the run ends after batch ${total}`,
      {
        cure: 'start averaging earlier, anneal for a shorter time, take snapshots more often or train longer',
      },
    )
  }
  return plan
}

/** An epoch, or such a part of a stretch of batches that is too short for as many epochs. */
function epochOrPart(run: RunLength, stretch: number, parts: number): string {
  return stretch >= parts * run.batchesPerEpoch ? '1ep' : `${Math.max(1, Math.floor(stretch / parts))}ba`
}

/** `phase` is the number of batches from swa-start to the end. */
function planRate(spec: SwaRateSpec, run: RunLength, startLr: number, phase: number): SwaRatePlan {
  switch (spec.kind) {
    case 'base':
      return spec
    case 'constant':
      return planRate({ kind: 'swalr', lr: spec.lr, anneal: '0ba', strategy: 'linear' }, run, startLr, phase)
    case 'swalr': {
      const { anneal = phase < 4 ? '0ba' : epochOrPart(run, phase, 4) } = spec
      const batches = resolveLength(anneal, run, 'anneal length', 0)
      const { value, unit } = parseTime(anneal, 'anneal length')
      // SWALR counts whole steps: 2.5ep cannot be annealed epoch by epoch.
      const perEpoch = unit === 'ep' && Number.isInteger(value)
      return {
        kind: 'swalr',
        lr: positive('swa-lr', spec.lr),
        startLr,
        anneal: perEpoch ? value : batches,
        batchesPerStep: perEpoch ? run.batchesPerEpoch : 1,
        strategy: spec.strategy,
      }
    }
    case 'cyclic': {
      const low = positive('low rate of the cycle', spec.low)
      const high = inRange('high rate of the cycle', spec.high, low, Infinity)
      const { cycle = epochOrPart(run, phase, 2) } = spec
      return { kind: 'cyclic', high, low, cycle: resolveLength(cycle, run, 'cycle length') }
    }
  }
}

/** The learning rate of a batch, counted from 0. */
export function learningRateAt(plan: SchedulePlan, batch: number): number {
  const { swa } = plan
  if (!swa || batch < swa.start || swa.rate.kind === 'base') return baseRateAt(plan, batch)
  return swaRateAt(swa.rate, batch - swa.start)
}

/**
 * The plan of a run that begins its SWA phase after `start` batches, before it was due. The phase is as long as planned and
 * takes its snapshots at the planned distances from its beginning; an anneal falls from the rate that there is.
 */
export function bringForward(plan: SchedulePlan, start: number): SchedulePlan {
  const { swa } = plan
  if (!swa || start >= swa.start) return plan
  const earlier = swa.start - start
  const { rate, first, initial } = swa
  return {
    ...plan,
    batches: plan.batches - earlier,
    swa: {
      ...{ ...swa, start, first: first - earlier },
      rate: rate.kind === 'swalr' ? { ...rate, startLr: baseRateAt(plan, start) } : rate,
      initial: initial === null ? null : initial - earlier,
    },
  }
}

function baseRateAt({ lr, batchesPerStep, warmup, base }: SchedulePlan, batch: number): number {
  const k = Math.floor(batch / batchesPerStep)
  if (!warmup) return baseRate(base, lr, k)
  if (k < warmup.over) return linearRate(lr, warmup.startFactor, 1, warmup.over, k)
  return baseRate(base, lr, k - warmup.over)
}

function linearRate(lr: number, startFactor: number, endFactor: number, over: number, k: number): number {
  return lr * (startFactor + ((endFactor - startFactor) * Math.min(k, over)) / over)
}

function baseRate(base: BasePlan, lr: number, k: number): number {
  switch (base.kind) {
    case 'constant':
      return lr
    case 'cosine':
      return base.etaMin + ((lr - base.etaMin) * (1 + Math.cos((Math.PI * k) / base.over))) / 2
    case 'linear':
      return linearRate(lr, base.startFactor, base.endFactor, base.over, k)
    case 'step':
      return lr * base.gamma ** Math.floor(k / base.every)
    case 'multistep':
      return lr * base.gamma ** base.milestones.filter(milestone => milestone <= k).length
    case 'timgaripov': {
      const t = k / base.over
      if (t <= 0.5) return lr
      return lr * (t <= 0.9 ? 1 - ((1 - base.ratio) * (t - 0.5)) / 0.4 : base.ratio)
    }
  }
}

/** `batch` counts from swa-start. */
function swaRateAt(rate: Exclude<SwaRatePlan, { kind: 'base' }>, batch: number): number {
  if (rate.kind === 'cyclic') {
    const t = ((batch % rate.cycle) + 1) / rate.cycle
    return (1 - t) * rate.high + t * rate.low
  }
  const k = Math.floor(batch / rate.batchesPerStep)
  const t = rate.anneal === 0 ? 1 : Math.min(k / rate.anneal, 1)
  const a = rate.strategy === 'linear' ? t : (1 - Math.cos(Math.PI * t)) / 2
  return rate.lr * a + rate.startLr * (1 - a)
}

/** Whether a snapshot is taken when `done` batches are done. */
export function isSnapshot({ swa }: SchedulePlan, done: number): boolean {
  if (!swa) return false
  return done === swa.initial || (done >= swa.first && (done - swa.first) % swa.every === 0)
}

/** The numbers of batches done at which snapshots are taken. */
export function snapshotsOf(plan: SchedulePlan): number[] {
  const { swa, batches } = plan
  if (!swa) return []
  const regular = Math.max(0, Math.floor((batches - swa.first) / swa.every) + 1)
  const initial =
    swa.initial !== null && swa.initial <= batches && swa.initial < swa.first ? [swa.initial] : []
  return [...initial, ...Array.from({ length: regular }, (_, i) => swa.first + i * swa.every)]
}

function positive(what: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new UsageError(`schedule: ${what} should be a positive number, found ${value}`)
}

function inRange(what: string, value: number, least: number, most: number): number {
  if (Number.isFinite(value) && value >= least && value <= most) return value
  const range = most === Infinity ? `at least ${least}` : `between ${least} and ${most}`
  throw new UsageError(`schedule: ${what} should be ${range}, found ${value}`)
}
