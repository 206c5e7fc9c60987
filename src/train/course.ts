/**
 * The course of a run: which batch belongs to which optimizer step, the learning rate of a step, and what is due after it.
 * Everything follows from the plan, and from the step at which the SWA phase was brought forward, if it was.
 */

import type { FinetunePlan } from './plan.ts'
import { bringForward, isSnapshot, learningRateAt, type SchedulePlan } from './schedules.ts'

export class Course {
  readonly #plan: FinetunePlan
  readonly #schedule: SchedulePlan

  constructor(plan: FinetunePlan, swaStart: number | null = null) {
    this.#plan = plan
    this.#schedule = swaStart === null ? plan.schedule : bringForward(plan.schedule, swaStart)
  }

  /** Optimizer steps of the run. */
  get steps(): number {
    return this.#schedule.batches
  }

  /** Batches that the engine sees: some make one optimizer step. */
  get batches(): number {
    return this.steps * this.#plan.settings.accumulate
  }

  /** The optimizer step that a batch belongs to; both are counted from 1. */
  stepOf(batch: number): number {
    return Math.ceil(batch / this.#plan.settings.accumulate)
  }

  /** Whether an optimizer step ends with this batch. */
  endsStep(batch: number): boolean {
    return batch % this.#plan.settings.accumulate === 0
  }

  learningRate(step: number): number {
    return learningRateAt(this.#schedule, step - 1)
  }

  /** Whether a snapshot is taken after a step. */
  isSnapshot(step: number): boolean {
    return isSnapshot(this.#schedule, step)
  }

  isValidation(step: number): boolean {
    return step % this.#plan.evalEvery === 0 || step === this.steps || this.isSnapshot(step)
  }

  /** Whether anything is due after a step. */
  isDue(step: number): boolean {
    return step % this.#plan.batchesPerEpoch === 0 || this.isValidation(step)
  }

  /** Whether the SWA phase could still be brought forward to a step. */
  isBeforeSwa(step: number): boolean {
    const { swa } = this.#schedule
    return swa !== null && step < swa.start
  }

  epoch(step: number): number {
    return step / this.#plan.batchesPerEpoch
  }
}
