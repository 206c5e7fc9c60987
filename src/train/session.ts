/** Everything a run has open: model, data, training program, engine session. */

import { BatchLoader, mixBatch, targetFor, type Dataset, type MixOptions } from '../data/index.ts'
import { bindInputs } from '../eval/feeds.ts'
import { evaluationLoader } from '../eval/loading.ts'
import type { OutputKind, Task } from '../eval/metrics.ts'
import type { Engine, Trainer } from '../runtime/engine.ts'
import type { ModelFile } from '../serde/index.ts'
import type { Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import type { LossSpec } from './losses.ts'
import type { FinetunePlan, PlannedRun } from './plan.ts'
import { prepareTraining, type TrainingGraph } from './prepare.ts'
import { buildProgram, type TrainingProgram } from './program.ts'
import { adaptTargets, chooseLoss, measureOf, softened, takesValues } from './task.ts'
import { drawMask } from './training-form.ts'

export interface TrainingSession {
  readonly plan: FinetunePlan
  readonly file: ModelFile
  readonly engine: Engine
  readonly graph: TrainingGraph
  readonly training: TrainingProgram
  readonly trainer: Trainer
  readonly loss: LossSpec
  readonly measure: { readonly task: Task; readonly kind: OutputKind }
  readonly loader: BatchLoader
  /** How training batches are mixed; null if they are not. */
  readonly mixing: MixOptions | null
  readonly val: Dataset | null
  /** Training data without augmentation: what batch norms are recalibrated on. */
  readonly calibration: Dataset
  /** The output that is measured. */
  readonly output: string
}

/** Builds the program of a planned run and opens its trainer. */
export async function openSession(
  engine: Engine,
  file: ModelFile,
  { plan, train, val }: PlannedRun,
  threads: number | undefined,
): Promise<TrainingSession> {
  const { batchSize, seed, settings, transforms } = plan
  const loader = new BatchLoader(train, { batchSize, seed, mode: 'train', transforms: transforms.train })
  const graph = await prepareTraining(engine, file.model, {
    batchSize,
    inputShapes: inputShapes(file, loader),
    patterns: settings.patterns,
    attach: takesValues(settings.loss) ? 'output' : 'logits',
    ...(settings.output === undefined ? {} : { output: settings.output }),
  })
  const info = { ...graph, logits: graph.logits }
  const loss = chooseLoss(settings, info, train)
  const { optimizer, batchNorm, dropout } = settings
  const { mix } = settings
  const trained = mix ? softened(loss) : loss
  const training = buildProgram(graph, { loss: trained, optimizer, batchNorm, dropout })
  const trainer = await engine.openTrainer(training.program, threads === undefined ? {} : { threads })
  const measure = measureOf(loss, graph.activation)
  return {
    plan,
    file,
    engine,
    graph,
    training,
    trainer,
    loss,
    measure,
    loader,
    mixing: mix ? { mix, seed, classes: graph.logits.shape[1] ?? 0, transforms: transforms.train } : null,
    val,
    calibration: train,
    output: graph.output,
  }
}

/** The feeds of the steps after `done`, in order, for ever: epoch after epoch, each with its own order. */
export async function* feedsFrom(
  session: TrainingSession,
  done: number,
  signal: AbortSignal,
): AsyncGenerator<Map<string, Tensor>, void, undefined> {
  const { loader, training, graph, file } = session
  const outputs = file.model.graph.outputs.map(({ name }) => name)
  const ports = graph.inputs.map(({ name, shape }) => ({ name, shape }))
  for (let step = done; ;) {
    const epoch = Math.floor(step / loader.length)
    for await (const batch of loader.batches(epoch, step % loader.length, signal)) {
      const { inputs, targets: fields } = session.mixing ? mixBatch(batch, session.mixing) : batch
      const feeds = bindInputs(inputs, ports)
      const targets = targetFor(fields, graph.output, outputs)
      feeds.set(training.target.name, adaptTargets(targets, training.target))
      step++
      yield feeds
    }
  }
}

/** The scalars and dropout masks of a step (1-based), which depend on nothing but its number. */
export function stepInputs(session: TrainingSession, step: number, lr: number): Map<string, Tensor> {
  const { training, plan } = session
  const values = training.optimizer.scalarsAt(step, lr)
  return new Map([
    ...training.scalarInputs.map((name, i) => [name, Tensor.scalar('float32', values[i]!)] as const),
    ...training.dropouts.map((mask, i) => [mask.value.name, drawMask(mask, plan.seed, step, i)] as const),
  ])
}

/** Batches for evaluation, of the size the model takes. */
export function evaluationBatches(session: TrainingSession, dataset: Dataset, signal?: AbortSignal) {
  return (fixed: number | null) =>
    evaluationLoader(dataset, session.plan.transforms.eval, fixed ?? session.plan.batchSize).batches(
      0,
      0,
      signal,
    )
}

/** The shapes of the model's inputs as the data fill them: open dimensions come from there. */
function inputShapes(file: ModelFile, loader: BatchLoader): Map<string, Shape> {
  const inputs = file.model.graph.feeds
  return new Map(
    loader.dataset.fields.map((field, i) => {
      const dims = loader.sampleDims[i]
      if (!dims) {
        throw new InputError(`data: images of ${loader.dataset.name} have no common size`, {
          cure: 'give the size of the images with --size',
        })
      }
      const input = inputs.find(value => value.name === field.name) ?? inputs[Number(field.name)]
      return [input?.name ?? field.name, [loader.batchSize, ...dims]] as const
    }),
  )
}
