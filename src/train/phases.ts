/**
 * A run in phases: a first one may train the last layer alone, by a program that has no gradients of the others. One program
 * is open at a time; the state is that of the whole run throughout, so that it is saved and taken up alike in every phase.
 */

import type { Engine, Feeds, SessionOptions, Trainer, Traffic } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { invariant } from '../util/errors.ts'
import type { FlatLayout } from './flat.ts'
import { vector } from './initial-state.ts'
import type { TrainingProgram } from './program.ts'

export interface Phase {
  /** Batches of the run when the phase is over. */
  readonly until: number
  readonly training: TrainingProgram
}

export class PhasedTrainer implements Trainer {
  readonly #engine: Engine
  readonly #phases: readonly Phase[]
  readonly #whole: TrainingProgram
  readonly #options: SessionOptions
  #phase: Phase
  #open: Trainer | null = null
  #trafficBefore: Traffic = NO_TRAFFIC

  /** The last phase trains everything, and its program says what the state of the run is. */
  constructor(engine: Engine, phases: readonly Phase[], options: SessionOptions) {
    this.#engine = engine
    this.#phases = phases
    this.#whole = phases.at(-1)!.training
    this.#options = options
    this.#phase = phases[0]!
  }

  /** Opens the program for what comes after so many batches; the state goes along from the one before. */
  async enter(batches: number): Promise<void> {
    const phase = this.#phases.find(({ until }) => batches < until) ?? this.#phases.at(-1)!
    if (this.#open && phase === this.#phase) return
    const state = this.#open && (await this.#open.readState())
    await this.close()
    this.#phase = phase
    const trainer = await this.#engine.openTrainer(phase.training.program, this.#options)
    this.#open = new WholeState(trainer, phase.training.state, this.#whole.state)
    if (state) await this.#open.writeState(state)
  }

  /** The program of the present phase. */
  get training(): TrainingProgram {
    return this.#phase.training
  }

  /** Batches of the run when the present phase is over. */
  get until(): number {
    return this.#phase.until
  }

  get chunk(): number {
    return this.#trainer.chunk
  }

  get notes(): readonly string[] {
    return this.#open?.notes ?? []
  }

  get traffic(): Traffic {
    return sumTraffic(this.#trafficBefore, this.#open?.traffic ?? NO_TRAFFIC)
  }

  steps(batches: readonly Feeds[]) {
    return this.#trainer.steps(batches)
  }

  readState() {
    return this.#trainer.readState()
  }

  writeState(state: Feeds) {
    return this.#trainer.writeState(state)
  }

  async close(): Promise<void> {
    this.#trafficBefore = this.traffic
    const open = this.#open
    this.#open = null
    await open?.close()
  }

  get #trainer(): Trainer {
    invariant(this.#open, 'no phase of the run was entered')
    return this.#open
  }
}

type Layouts = ReadonlyMap<string, FlatLayout>

/** A trainer whose program carries a part of the state; the rest is kept here, as it was written. */
class WholeState implements Trainer {
  readonly #inner: Trainer
  readonly #part: Layouts
  readonly #whole: Layouts
  #kept: Feeds = new Map()

  constructor(inner: Trainer, part: Layouts, whole: Layouts) {
    this.#inner = inner
    this.#part = part
    this.#whole = whole
  }

  get chunk() {
    return this.#inner.chunk
  }
  get notes() {
    return this.#inner.notes
  }
  get traffic() {
    return this.#inner.traffic
  }
  steps(batches: readonly Feeds[]) {
    return this.#inner.steps(batches)
  }
  close() {
    return this.#inner.close()
  }

  async readState(): Promise<Map<string, Tensor>> {
    const state = await this.#inner.readState()
    if (this.#part === this.#whole) return state
    const whole = new Map<string, Tensor>()
    for (const [name, layout] of this.#whole) {
      const values = (this.#kept.get(name)!.view() as Float32Array).slice()
      const part = this.#part.get(name)
      if (part) move(part, state.get(name)!.view() as Float32Array, layout, values)
      whole.set(name, vector(values))
    }
    return whole
  }

  async writeState(state: Feeds): Promise<void> {
    if (this.#part === this.#whole) return this.#inner.writeState(state)
    this.#kept = state
    const parts = new Map<string, Tensor>()
    for (const [name, part] of this.#part) {
      const values = new Float32Array(part.length)
      move(this.#whole.get(name)!, state.get(name)!.view() as Float32Array, part, values)
      parts.set(name, vector(values))
    }
    await this.#inner.writeState(parts)
  }
}

/** Copies the segments that both layouts have. */
function move(from: FlatLayout, source: Float32Array, to: FlatLayout, target: Float32Array): void {
  const places = new Map(to.segments.map(({ name, offset }) => [name, offset]))
  for (const { name, offset, size } of from.segments) {
    const place = places.get(name)
    if (place !== undefined) target.set(source.subarray(offset, offset + size), place)
  }
}

export const NO_TRAFFIC: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }

export function sumTraffic(a: Traffic, b: Traffic): Traffic {
  return {
    steps: a.steps + b.steps,
    runs: a.runs + b.runs,
    batchBytes: a.batchBytes + b.batchBytes,
    stateBytes: a.stateBytes + b.stateBytes,
  }
}
