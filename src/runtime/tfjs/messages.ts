/** What an engine asks of the thread in which tfjs runs; the thread may be its own. */

import type { ModelSource, Port } from '../engine.ts'
import type { StateVector } from '../program.ts'
import type { StepResults, WireFeeds } from '../ort/messages.ts'
import type { Channel } from '../../util/channel.ts'
import type { Loaded } from './loaded.ts'

/** An open model or training program. */
export type SessionId = number

export type Requests = {
  /** Loads the tfjs package and says what was found. */
  load: { arguments: null; result: Loaded }
  open: {
    arguments: { model: ModelSource }
    result: { id: SessionId; inputs: readonly Port[]; outputs: readonly Port[] }
  }
  run: {
    arguments: { id: SessionId; feeds: WireFeeds; outputs: readonly string[] | null }
    result: WireFeeds
  }
  train: {
    arguments: { model: Uint8Array; state: readonly StateVector[]; metrics: readonly string[] }
    result: SessionId
  }
  steps: {
    arguments: { id: SessionId; batches: readonly WireFeeds[] }
    result: Pick<StepResults, 'metrics' | 'traffic'>
  }
  readState: { arguments: { id: SessionId }; result: WireFeeds }
  writeState: { arguments: { id: SessionId; state: WireFeeds }; result: null }
  close: { arguments: { id: SessionId }; result: null }
  /** Tensors and bytes that tfjs holds. */
  memory: { arguments: null; result: { tensors: number; bytes: number } }
}

export type TfjsChannel = Channel<Requests>
