/** Everything a run has open: model, data, training program, engine session. */

import { BatchLoader, mixBatch, type Dataset, type MixOptions } from '../data/index.ts'
import { bindInputs } from '../eval/feeds.ts'
import { evaluationLoader } from '../eval/loading.ts'
import type { MeasuredOutput } from '../eval/task.ts'
import type { Engine, Trainer } from '../runtime/engine.ts'
import type { ModelFile } from '../serde/index.ts'
import type { Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import type { FinetunePlan, PlannedRun } from './plan.ts'
import { prepareTraining, type TrainingGraph } from './prepare.ts'
import { buildProgram, type TrainingProgram } from './program.ts'
import { resolveClassWeights } from './class-weights.ts'
import type { LossGraph } from './loss-graph.ts'
import { adaptTargets, chooseLosses, lossRequests, softened, takesValues } from './task.ts'
import { drawMask } from './training-form.ts'

export interface TrainingSession {
  readonly plan: FinetunePlan
  readonly file: ModelFile
  readonly engine: Engine
  readonly graph: TrainingGraph
  readonly training: TrainingProgram
  readonly trainer: Trainer
  /** The outputs that are measured, the first one as the main one; none where the loss is a graph. */
  readonly measured: readonly MeasuredOutput[]
  readonly loader: BatchLoader
  /** How training batches are mixed; null if they are not. */
  readonly mixing: MixOptions | null
  readonly val: Dataset | null
  /** Training data without augmentation: what batch norms are recalibrated on. */
  readonly calibration: Dataset
}

/** Builds the program of a planned run and opens its trainer. */
export async function openSession(
  engine: Engine,
  file: ModelFile,
  { plan, train, val, lossGraph }: PlannedRun,
  threads: number | undefined,
): Promise<TrainingSession> {
  const { batchSize, seed, settings, transforms } = plan
  const loader = new BatchLoader(train, { batchSize, seed, mode: 'train', transforms: transforms.train })
  const graph = await prepareTraining(engine, file.model, {
    batchSize,
    inputShapes: inputShapes(file, loader),
    patterns: settings.patterns,
    heads: lossRequests(settings).map(({ kind, output }) => ({
      attach: takesValues(kind) ? 'output' : 'logits',
      ...(output === undefined ? {} : { output }),
    })),
    ownLoss: lossGraph ? ownLoss(lossGraph, plan, train) : null,
  })
  const outputs = file.model.graph.outputs.map(({ name }) => name)
  const { terms, measured } = graph.ownLoss
    ? { terms: null, measured: [] }
    : chooseLosses(settings, graph.heads, outputs, train)
  const { optimizer, batchNorm, dropout, mix } = settings
  if (mix && !terms)
    throw new UsageError('--mixup, --cutmix: they need --loss cross-entropy, the loss is a graph')
  const loss = mix && terms ? softened(terms) : terms
  const training = buildProgram(graph, { loss, optimizer, batchNorm, dropout })
  const trainer = await engine.openTrainer(training.program, threads === undefined ? {} : { threads })
  return {
    plan,
    file,
    engine,
    graph,
    training,
    trainer,
    measured,
    loader,
    mixing: mix
      ? { mix, seed, classes: graph.heads[0]!.logits.shape[1] ?? 0, transforms: transforms.train }
      : null,
    val,
    calibration: train,
  }
}

/** A loss of the person's own, and what it may read of the data. */
function ownLoss(
  { path, bytes }: NonNullable<PlannedRun['lossGraph']>,
  plan: FinetunePlan,
  train: Dataset,
): LossGraph {
  const { classWeights, ignoreIndex, output } = plan.settings
  const [main] = train.targets
  const classes = Array.isArray(classWeights) ? classWeights.length : (main!.classes?.length ?? 0)
  return {
    path,
    bytes,
    targets: train.targets,
    classWeights: classWeights ? resolveClassWeights(classWeights, classes, train, main!, ignoreIndex) : null,
    ...(output === undefined ? {} : { output }),
  }
}

/** The feeds of the steps after `done`, in order, for ever: epoch after epoch, each with its own order. */
export async function* feedsFrom(
  session: TrainingSession,
  done: number,
  signal: AbortSignal,
): AsyncGenerator<Map<string, Tensor>, void, undefined> {
  const { loader, training, graph } = session
  const main = loader.dataset.targets[0]!.name
  const ports = graph.inputs.map(({ name, shape }) => ({ name, shape }))
  for (let step = done; ;) {
    const epoch = Math.floor(step / loader.length)
    for await (const batch of loader.batches(epoch, step % loader.length, signal)) {
      const { inputs, targets } = session.mixing ? mixBatch(batch, session.mixing) : batch
      const feeds = bindInputs(inputs, ports)
      for (const target of training.targets) {
        const values = targets.get(target.field ?? main)!
        feeds.set(target.name, adaptTargets(values, target))
      }
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
