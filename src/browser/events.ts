/** What a run in a browser tells while it goes: the events of Node's runs, with the numbers behind their texts. */

import type { Metrics } from '../eval/metrics.ts'
import type { FinetuneEvent } from '../train/options.ts'

type Of<Kind extends FinetuneEvent['kind']> = Extract<FinetuneEvent, { kind: Kind }>

export type BrowserEvent =
  | Of<'note'>
  | Of<'warning'>
  | Of<'progress'>
  | Of<'snapshot'>
  /** `accuracy`: share of the batch that was right; null where the loss knows no right. */
  | (Of<'step'> & { readonly accuracy: number | null })
  | (Of<'validated'> & { readonly metrics: Metrics })

export interface RunContext {
  readonly onEvent: (event: BrowserEvent) => void
  readonly signal?: AbortSignal | undefined
}
