/**
 * The average of the snapshots so far as a model, for those who serve a run that goes on. Its batch-norm statistics are the
 * mean of the snapshots' own; the run's last average, with statistics of the data, takes its place.
 */

import { rm } from 'node:fs/promises'
import type { RunningAverage } from '../averaging/index.ts'
import { metadataOf } from './candidates.ts'
import type { RunFolder } from './run-folder.ts'
import type { TrainingSession } from './session.ts'
import { writeModelWith } from './weights.ts'

export async function writeCurrentAverage(
  run: RunFolder,
  { plan, file, graph, training }: TrainingSession,
  average: RunningAverage,
  snapshots: readonly number[],
): Promise<void> {
  const { theta, buffers } = average.mean()
  const weights = new Map([...training.parameters.unpack(theta), ...buffers])
  await writeModelWith(file, graph, weights, run.current, metadataOf(plan, 'swa', snapshots))
}

export async function removeCurrentAverage(run: RunFolder): Promise<void> {
  await rm(run.current, { force: true })
  await rm(`${run.current}.data`, { force: true })
}
