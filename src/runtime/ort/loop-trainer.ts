/** The process's end of a program that runs as chunks of steps: batches are stacked here while the device works. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Graph } from '../../ir/graph.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { InputError, messageOf } from '../../util/errors.ts'
import type { Feeds, SessionOptions, Traffic, Trainer } from '../engine.ts'
import type { Program } from '../program.ts'
import { explainMemory } from './memory.ts'
import { transferables, type LoopPlan, type ProviderSpec, type WireFeeds } from './messages.ts'
import { placementNotes } from './placement-notes.ts'
import { openThread, SessionThread, unwire, wire } from './session.ts'

export interface LoopTrainerSetup {
  readonly providers: readonly ProviderSpec[]
  readonly options: SessionOptions
  /** The Loop model, and the graph that it was made of. */
  readonly model: Uint8Array
  readonly graph: Graph
  readonly loop: LoopPlan
  /** The execution provider on which every node is expected, as ONNX Runtime names it: others become notes. */
  readonly provider: string
  /** What was known before the session was opened. */
  readonly notes: readonly string[]
}

/** Opens a Loop model; its state must be written before the first step. */
export async function openLoopTrainer(program: Program, setup: LoopTrainerSetup): Promise<Trainer> {
  const { providers, model, loop } = setup
  const placement = new Placement(setup)
  const thread = new SessionThread()
  try {
    await openThread(thread, model, providers, placement.options)
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

/** Learns from a profile of the first chunk where the nodes ran. */
class Placement {
  readonly options: SessionOptions
  notes: readonly string[] = []
  readonly #graph: Graph
  readonly #provider: string
  /** Where the profile is written; null once it was read. */
  #folder: string | null

  constructor({ options, graph, provider }: LoopTrainerSetup) {
    this.#graph = graph
    this.#provider = provider
    // A profile that the caller wants is the caller's: it goes on to the end of the session, and says it all.
    this.#folder = options.profile === undefined ? mkdtempSync(join(tmpdir(), 'swa-onnx-placement-')) : null
    this.options = this.#folder === null ? options : { ...options, profile: join(this.#folder, 'step') }
  }

  async take(thread: SessionThread): Promise<void> {
    const prefix = this.options.profile
    if (this.#folder === null || prefix === undefined) return
    const folder = this.#folder
    this.#folder = null
    try {
      const placed = await thread.request('placement', { prefix })
      this.notes = placementNotes(placed, this.#graph, this.#provider)
    } catch (error) {
      // Only a remark is lost, and that is one.
      this.notes = [`on which device the program's nodes run is not known: ${messageOf(error)}`]
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  close(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true })
    this.#folder = null
  }
}
