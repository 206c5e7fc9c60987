/** How a session thread carries the state of a training program from step to step; engines differ in where it can stay. */

import type * as Ort from 'onnxruntime-node'
import type { Traffic } from '../engine.ts'
import { AlternatingStepper } from './alternating.ts'
import type { OrtModule } from './load.ts'
import { ResidentStepper } from './resident.ts'
import type { StepperName, StepPlan, WireFeeds, WireMetrics } from './messages.ts'

export interface Stepper {
  readonly traffic: Traffic
  /** Sets whole state vectors. */
  write(state: WireFeeds): Promise<void>
  /** Copies of all state vectors. */
  read(): Promise<WireFeeds>
  /** One step for each batch, in order. */
  steps(batches: readonly WireFeeds[]): Promise<WireMetrics[]>
  close(): Promise<void>
}

/** What a stepper may ask of the thread that it lives in. */
export interface StepperHost {
  /** A further session on the providers of the program's; the stepper releases it. */
  openBeside(model: Uint8Array): Promise<Ort.InferenceSession>
}

export type MakeStepper = (
  ort: OrtModule,
  session: Ort.InferenceSession,
  plan: StepPlan,
  host: StepperHost,
) => Stepper

export const STEPPERS: Readonly<Record<StepperName, MakeStepper>> = {
  alternating: (ort, session, plan) => new AlternatingStepper(ort, session, plan),
  resident: (ort, session, plan, host) => new ResidentStepper(ort, session, plan, host),
}
