/** How a run trains beyond optimizer and schedule: which weights get which rate, what is done to gradients, when to stop. */

import type { ClipSpec, EmaSpec } from './update.ts'

/** A number for the weights whose names match a pattern. */
export interface PatternValue {
  readonly pattern: string
  readonly value: number
}

export interface GroupSettings {
  /** Whether biases and the scales of norms decay like other weights. */
  readonly decayAll: boolean
  /** Factors of the learning rate; the last pattern that matches counts. */
  readonly lrOf: readonly PatternValue[]
  /** Weight decays that replace the optimizer's, and the rule for biases and norms; the last pattern that matches counts. */
  readonly weightDecayOf: readonly PatternValue[]
  /** Each layer learns at this share of the rate of the layer after it; 1: all alike. */
  readonly layerDecay: number
}

export interface TrainingSettings extends GroupSettings {
  /** How gradients are clipped; null: not at all. */
  readonly clip: ClipSpec | null
  /** Batches whose gradients make one optimizer step. */
  readonly accumulate: number
  /** The moving average that is kept beside the weights; null: none. */
  readonly ema: EmaSpec | null
  /** A first phase in which the last layer alone trains, and what else `also` matches; null: none. */
  readonly headOnly: { readonly over: string; readonly also: readonly string[] } | null
  /** Validations without improvement after which the SWA phase is brought forward; null: never. */
  readonly patience: number | null
  /** The metric by which models are compared; `auto`: what suits the task. */
  readonly metric: string
}

export const DEFAULT_TRAINING: TrainingSettings = {
  decayAll: false,
  lrOf: [],
  weightDecayOf: [],
  layerDecay: 1,
  clip: null,
  accumulate: 1,
  ema: null,
  headOnly: null,
  patience: null,
  metric: 'auto',
}
