/** What a person may ask of a fine-tuning run; everything but model, data and run folder has a default. */

import type { BatchNormMode } from '../batchnorm/index.ts'
import type { Augment, Mix } from '../data/index.ts'
import type { DataOptions } from '../eval/loading.ts'
import type { WeightPatterns } from '../passes/index.ts'
import type { HeadOptions } from './head.ts'
import type { LossSettings } from './task.ts'
import type { OptimizerSpec } from './optimizers.ts'
import type { ScheduleSpec } from './schedules.ts'
import type { TrainingSettings } from './training-settings.ts'

/**
 * Which weights the run delivers: the average of snapshots; the moving average; whatever validates best; or the average of
 * snapshots unless something beats it.
 */
export type Select = 'swa' | 'ema' | 'best' | 'gate'

/** What is trained, and what is made of it. The settings of training have defaults (DEFAULT_TRAINING). */
export interface RunSettings extends LossSettings, Partial<TrainingSettings> {
  readonly optimizer: OptimizerSpec
  /** Batches mixed by MixUp or CutMix; not, if absent. */
  readonly mix?: Mix
  readonly batchNorm: 'train' | 'frozen'
  readonly bnMode: BatchNormMode
  readonly dropout: boolean
  /** Whether activations are computed again instead of being kept for the backward pass. */
  readonly recompute?: boolean
  readonly select: Select
  readonly patterns: WeightPatterns
}

export interface FinetuneOptions extends HeadOptions {
  readonly model: string
  readonly data: string
  /** Validation data; by default a part of `data`: its own validation split, or a held-out share. */
  readonly val?: string
  /** Which samples, split how (`holdOut` 0: no validation), normalised how. */
  readonly dataOptions: DataOptions
  readonly augment: Partial<Augment>
  /** The run folder. */
  readonly run: string
  readonly epochs: number
  readonly batchSize: number
  readonly seed: number
  readonly schedule: ScheduleSpec
  readonly settings: RunSettings
  /** A loss of one's own: an ONNX file (settings.loss is 'graph'). */
  readonly lossGraph?: string
  /** Time between validations. */
  readonly evalEvery: string
  readonly threads?: number
}

export type FinetuneEvent =
  /** Something a person should read. */
  | { readonly kind: 'note'; readonly message: string }
  | { readonly kind: 'warning'; readonly message: string }
  | {
      readonly kind: 'step'
      readonly step: number
      readonly steps: number
      readonly loss: number
      readonly lr: number
    }
  | { readonly kind: 'validated'; readonly what: string; readonly step: number; readonly summary: string }
  | { readonly kind: 'snapshot'; readonly step: number; readonly count: number }
  | {
      readonly kind: 'progress'
      readonly label: string
      readonly done: number
      readonly total: number
      readonly unit: string
    }

export interface FinetuneContext {
  readonly onEvent: (event: FinetuneEvent) => void
  readonly signal?: AbortSignal | undefined
}
