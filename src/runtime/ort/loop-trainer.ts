/** The process's end of a program that runs as chunks of steps: batches are stacked here while the device works. */

import { sizeOf } from '../../tensor/shape.ts'
import { InputError } from '../../util/errors.ts'
import type { Feeds, Traffic, Trainer } from '../engine.ts'
import type { Program } from '../program.ts'
import { explainMemory } from './memory.ts'
import { transferables, type LoopPlan, type ProviderSpec, type WireFeeds } from './messages.ts'
import type { PlacementCheck } from './placement-check.ts'
import { openThread, SessionThread, unwire, wire } from './session.ts'

export interface LoopTrainerSetup {
  readonly providers: readonly ProviderSpec[]
  /** The Loop model. */
  readonly model: Uint8Array
  readonly loop: LoopPlan
  /** Has the session options, and says after the first chunk where the nodes ran. */
  readonly placement: PlacementCheck
  /** What was known before the session was opened. */
  readonly notes: readonly string[]
}

/** Opens a Loop model; its state must be written before the first step. */
export async function openLoopTrainer(program: Program, setup: LoopTrainerSetup): Promise<Trainer> {
  const { providers, model, loop, placement } = setup
  const thread = new SessionThread()
  try {
    await openThread(thread, { model, options: placement.options, providers })
    const { state, metrics } = program
    await thread.request('prepareSteps', { stepper: 'loop', state, metrics, loop })
  } catch (error) {
    await thread.close()
    placement.close()
    throw explainMemory(error, loop.batchSize)
  }
  let traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }
  let chunk = 1
  let learned: readonly string[] = []
  return {
    get chunk() {
      return chunk
    },
    get notes() {
      return [...setup.notes, ...placement.notes, ...learned]
    },
    get traffic() {
      return traffic
    },
    async steps(batches) {
      if (batches.length === 0) return []
      const stacked = stackSteps(program, batches)
      const stepped = thread.request('steps', { batches: [stacked] }, transferables(stacked))
      // Asked for now, so that it comes before the next chunk.
      const [results] = await Promise.all([stepped, placement.take(thread)])
      traffic = results.traffic
      chunk = results.chunk
      learned = results.notes
      return results.metrics.map(values => new Map(values))
    },
    async readState() {
      return unwire(await thread.request('readState', null))
    },
    async writeState(state) {
      await thread.request('writeState', { state: wire(state) })
    },
    async close() {
      await thread.close()
      placement.close()
    },
  }
}

/**
 * The step inputs of several batches, each stacked along a new first axis. A single batch is taken over as it is, the others
 * are copied once.
 */
export function stackSteps(program: Program, batches: readonly Feeds[]): WireFeeds {
  return program.inputs.map(({ name, dtype, shape }) => {
    const rows = batches.map((batch, step) => {
      const tensor = batch.get(name)
      if (tensor?.dtype === dtype && sizeOf(tensor.dims) === sizeOf(shape)) return tensor.data as Uint8Array
      throw new InputError(
        `batch ${step}: expected ${name} of type ${dtype}[${shape.join()}], found ${tensor ? `${tensor.dtype}[${tensor.dims.join()}]` : 'nothing'}`,
      )
    })
    const dims = [rows.length, ...shape]
    if (rows.length === 1) return [name, { dtype, dims, data: rows[0]! }] as const
    const size = rows[0]!.byteLength
    const data = new Uint8Array(size * rows.length)
    rows.forEach((row, step) => data.set(row, step * size))
    return [name, { dtype, dims, data }] as const
  })
}
