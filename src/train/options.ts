/** What a person may ask of a fine-tuning run; everything but model, data and run folder has a default. */

import type { BatchNormMode } from '../batchnorm/index.ts'
import type { Augment } from '../data/index.ts'
import type { DataOptions } from '../eval/loading.ts'
import type { WeightPatterns } from '../passes/index.ts'
import type { HeadOptions } from './head.ts'
import type { LossKind } from './losses.ts'
import type { OptimizerSpec } from './optimizers.ts'
import type { ScheduleSpec } from './schedules.ts'

/** Which weights the run delivers: the average; whatever validates best; or the average unless something beats it. */
export type Select = 'swa' | 'best' | 'gate'

/** What is trained, and what is made of it; goes into the plan as it is. */
export interface RunSettings {
  readonly optimizer: OptimizerSpec
  readonly loss: LossKind | 'auto'
  readonly labelSmoothing: number
  readonly ignoreIndex: number
  readonly batchNorm: 'train' | 'frozen'
  readonly bnMode: BatchNormMode
  readonly dropout: boolean
  readonly select: Select
  readonly patterns: WeightPatterns
  /** The output that the loss attaches to. */
  readonly output?: string
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
