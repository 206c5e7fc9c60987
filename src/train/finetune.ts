/** A whole fine-tuning run: plan, train under the schedule with snapshots, then average, recalibrate, compare, select. */

import { formNotes } from '../eval/inference-form.ts'
import type { Engine } from '../runtime/engine.ts'
import { copyNotes, findEqualCopies } from '../passes/index.ts'
import { loadModel, type ModelFile } from '../serde/index.ts'
import { finish, type FinetuneResult } from './finish.ts'
import { InterruptedError } from '../util/errors.ts'
import type { FinetuneContext, FinetuneOptions } from './options.ts'
import { openStart } from './head.ts'
import { PLACES, planFinetune, type FinetunePlan, type PlannedEngine, type PlannedRun } from './plan.ts'
import { openRunFolder, RunFolder } from './run-folder.ts'
import { openSession } from './session.ts'
import { Training } from './training.ts'

/** Resolves the options without touching the disk: what `--dry-run` prints. */
export async function planRun(engine: PlannedEngine, options: FinetuneOptions): Promise<FinetunePlan> {
  const file = await loadModel(options.model)
  try {
    return (await planFinetune(engine, file, options)).plan
  } finally {
    await file.close()
  }
}

/** Runs, or resumes, a fine-tuning. */
export async function finetune(
  engine: Engine,
  options: FinetuneOptions,
  context: FinetuneContext,
): Promise<FinetuneResult> {
  const file = await loadModel(options.model)
  try {
    const planned = await planFinetune(engine, file, options)
    const run = new RunFolder(options.run)
    const { resumed, release } = await openRunFolder(run, planned.plan, PLACES)
    try {
      const { plan } = planned
      const start = await openStart(run, file, plan)
      try {
        for (const message of start.notes) context.onEvent({ kind: 'note', message })
        const model = { ...options, model: start.path }
        return await train(engine, start.file, planned, run, resumed, model, context)
      } finally {
        if (start.file !== file) await start.file.close()
      }
    } catch (error) {
      throw error === context.signal?.reason ? interrupted(run, error) : error
    } finally {
      await release()
    }
  } finally {
    await file.close()
  }
}

/** An abort outside the training loop, which names the step itself. */
function interrupted(run: RunFolder, cause: unknown): InterruptedError {
  return new InterruptedError(`run ${run.path}: interrupted; what was saved last is kept`, {
    cause,
    cure: 'run the same command again to continue',
  })
}

async function train(
  engine: Engine,
  file: ModelFile,
  planned: PlannedRun,
  run: RunFolder,
  resumed: boolean,
  options: FinetuneOptions,
  context: FinetuneContext,
): Promise<FinetuneResult> {
  const session = await openSession(engine, file, planned, options.threads)
  let training: Training
  try {
    for (const message of [
      ...planned.train.notes,
      ...formNotes(file.model),
      ...session.graph.notes,
      ...copyNotes(await findEqualCopies(session.graph.parameters)),
    ])
      context.onEvent({ kind: 'note', message })
    training = await Training.open(run, session, options, context)
    if (resumed)
      context.onEvent({
        kind: 'note',
        message: `resuming ${run.path} after step ${training.progress.step}`,
      })
    await training.run()
  } finally {
    await session.trainer.close()
  }
  return finish(run, session, training, options, context)
}
