/** What the page and its worker say to each other. */

import type {
  BrowserEvent,
  BrowserOptions,
  EngineReport,
  ImageFile,
  Metrics,
  WebEngineName,
} from '../index.ts'

/** Where the worker gets its data from. */
export type DataChoice =
  | { readonly kind: 'digits' }
  | { readonly kind: 'images'; readonly name: string; readonly files: readonly ImageFile[] }

export type ModelChoice = { readonly kind: 'demo' } | { readonly kind: 'file'; readonly file: File }

export interface StartRequest {
  readonly model: ModelChoice
  readonly data: DataChoice
  readonly options: BrowserOptions
  readonly engine: WebEngineName | 'auto'
}

export type ToWorker =
  | { readonly kind: 'probe' }
  | { readonly kind: 'inspect'; readonly model: ModelChoice }
  | { readonly kind: 'start'; readonly request: StartRequest }
  | { readonly kind: 'stop' }

/** A model in the table at the end. */
export interface CandidateRow {
  readonly name: string
  readonly step: number
  readonly metrics: Metrics | null
}

export interface RunResult {
  readonly candidates: readonly CandidateRow[]
  readonly swaIsBest: boolean | null
  readonly steps: number
  readonly snapshots: number
  readonly recalibrated: number | null
  readonly averaged: Uint8Array
  readonly last: Uint8Array
}

export type FromWorker =
  | {
      readonly kind: 'engines'
      readonly reports: readonly EngineReport[]
      readonly preferred: WebEngineName | null
    }
  /** What is in a model that was chosen, in a sentence; `obstacles` say why it cannot be trained. */
  | { readonly kind: 'inspected'; readonly summary: string; readonly obstacles: readonly string[] }
  | { readonly kind: 'event'; readonly event: BrowserEvent }
  | { readonly kind: 'done'; readonly result: RunResult }
  | {
      readonly kind: 'failed'
      readonly message: string
      readonly cure: string | null
      readonly stopped: boolean
    }
