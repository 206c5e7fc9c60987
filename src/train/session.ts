/** Everything a run has open: model, data, training program, engine session. */

import { BatchLoader, fitMasks, mixBatch, type Dataset, type MixOptions } from '../data/index.ts'
import { bindInputs } from '../eval/feeds.ts'
import { evaluationLoader } from '../eval/loading.ts'
import type { MeasuredOutput } from '../eval/task.ts'
import type { Engine } from '../runtime/engine.ts'
import type { ModelFile } from '../serde/index.ts'
import type { Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { groupsWithin } from './groups.ts'
import { PhasedTrainer, type Phase } from './phases.ts'
import type { FinetunePlan, PlannedRun } from './plan.ts'
import { prepareTraining, type TrainingGraph } from './prepare.ts'
import { buildProgram, type TrainingProgram } from './program.ts'
import { resolveClassWeights } from './class-weights.ts'
import type { LossGraph } from './loss-graph.ts'
import { isBinaryLoss } from './losses.ts'
import { adaptTargets, chooseLosses, lossRequests, mixedLosses, takesValues } from './task.ts'
import { drawMask } from './training-form.ts'
import { planWeights } from './weight-plan.ts'

export interface TrainingSession {
  readonly plan: FinetunePlan
  readonly file: ModelFile
  readonly engine: Engine
  readonly graph: TrainingGraph
  /** The program that trains everything; its state is the run's. */
  readonly training: TrainingProgram
  readonly trainer: PhasedTrainer
  /** The outputs that are measured, the first one as the main one; none where the loss is a graph. */
  readonly measured: readonly MeasuredOutput[]
  readonly loader: BatchLoader
  /** How training batches are mixed; null if they are not. */
  readonly mixing: MixOptions | null
  readonly val: Dataset | null
  /** Training data without augmentation: what batch norms are recalibrated on. */
  readonly calibration: Dataset
}

/** Builds the programs of a planned run; its trainer opens them phase by phase. */
export async function openSession(
  engine: Engine,
  file: ModelFile,
  { plan, train, val, lossGraph }: PlannedRun,
  threads: number | undefined,
): Promise<TrainingSession> {
  const { batchSize, seed, settings, transforms } = plan
  const reading = { batchSize, seed, mode: 'train', transforms: transforms.train } as const
  const shapes = new BatchLoader(train, reading)
  const ports = file.model.graph.feeds.map(({ name }) => ({ name, shape: [] }))
  const prepare = () =>
    prepareTraining(engine, file.model, {
      batchSize,
      inputShapes: inputShapes(file, shapes),
      patterns: settings.patterns,
      heads: lossRequests(settings).map(({ kind, output }) => ({
        attach: takesValues(kind) ? 'output' : 'logits',
        ...(output === undefined ? {} : { output }),
      })),
      ownLoss: lossGraph ? ownLoss(lossGraph, plan, shapes) : null,
      sample: async () => bindInputs((await shapes.batch(0, 0)).inputs, ports),
    })
  const graph = await prepare()
  const outputs = file.model.graph.outputs.map(({ name }) => name)
  const { terms, measured } = graph.ownLoss
    ? { terms: null, measured: [] }
    : chooseLosses(settings, graph.heads, outputs, train)
  const { mix } = settings
  if (mix && !terms)
    throw new UsageError('--mixup, --cutmix: they need --loss cross-entropy, the loss is a graph')
  const loss = mix && terms ? mixedLosses(mix, terms, train) : terms
  // Yes-no decisions leave no pixel out: what comes from outside an image is none of what is looked for.
  const decides = terms?.every(term => isBinaryLoss(term.loss)) ?? false
  const loader = decides ? new BatchLoader(train, { ...reading, outside: 0 }) : shapes
  const { groups, headOnly } = planWeights(
    graph.model.graph,
    graph.parameters,
    () => graph.heads.map(({ logits }) => logits),
    settings,
    plan.headOnly?.steps ?? 0,
  )
  const precision = plan.engine.precision === 'float16' ? 'float16' : 'float32'
  const phases: Phase[] = []
  if (headOnly) {
    // The weights outside the head are constants of this program, their batch norms those of inference.
    const head = new Set(headOnly.weights)
    const another = await prepare()
    const parameters = another.parameters.filter(({ name }) => head.has(name))
    const only = { batchNorm: 'frozen', groups: groupsWithin(groups, head) } as const
    const training = buildProgram({ ...another, parameters }, { ...settings, loss, precision, ...only })
    phases.push({ until: headOnly.steps * settings.accumulate, training })
  }
  const training = buildProgram(graph, { ...settings, loss, groups, precision })
  phases.push({ until: Infinity, training })
  const trainer = new PhasedTrainer(engine, phases, threads === undefined ? {} : { threads })
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
      ? {
          ...{ mix, seed, classes: graph.heads[0]!.logits.shape[1] ?? 0, transforms: transforms.train },
          masks: new Map(train.targets.flatMap(({ name, mask }) => (mask ? [[name, mask.field]] : []))),
        }
      : null,
    val,
    calibration: train,
  }
}

/** A loss of the person's own, and what it may read of the data. */
function ownLoss(
  { path, bytes }: NonNullable<PlannedRun['lossGraph']>,
  plan: FinetunePlan,
  loader: BatchLoader,
): LossGraph {
  const { dataset: train } = loader
  const { classWeights, ignoreIndex, output } = plan.settings
  const [main] = train.targets
  const classes = Array.isArray(classWeights) ? classWeights.length : (main!.classes?.length ?? 0)
  return {
    path,
    bytes,
    targets: loader.targets,
    classWeights: classWeights ? resolveClassWeights(classWeights, classes, train, main!, ignoreIndex) : null,
    ...(output === undefined ? {} : { output }),
  }
}

/**
 * The feeds of the batches after the first `done`, in order, for ever: epoch after epoch, each with its own order. An epoch
 * ends with its last whole optimizer step.
 */
export async function* feedsFrom(
  session: TrainingSession,
  done: number,
  signal: AbortSignal,
): AsyncGenerator<Map<string, Tensor>, void, undefined> {
  const { loader, trainer, graph, plan } = session
  const fields = loader.dataset.targets
  const ports = graph.inputs.map(({ name, shape }) => ({ name, shape }))
  const perEpoch = plan.batchesPerEpoch * plan.settings.accumulate
  for (let count = done; ;) {
    const epoch = Math.floor(count / perEpoch)
    for await (const batch of loader.batches(epoch, count % perEpoch, signal)) {
      const { inputs, targets } = session.mixing ? mixBatch(batch, session.mixing) : batch
      const feeds = bindInputs(inputs, ports)
      for (const target of trainer.training.targets) {
        const field = fields.find(({ name }) => name === target.field) ?? fields[0]!
        const values = targets.get(field.name)!
        const own = field.mask && !session.graph.ownLoss ? fitMasks(values, ...positionsOf(target)) : values
        feeds.set(target.name, adaptTargets(own, target))
      }
      count++
      yield feeds
      if (count % perEpoch === 0) break
    }
  }
}

/** The positions at which a loss takes masks, and whether it decides between yes and no there. */
function positionsOf({ dtype, shape }: Pick<Tensor, 'dtype'> & { readonly shape: Shape }): [Shape, boolean] {
  return [shape.slice(1), dtype === 'float32']
}

/** The scalars and dropout masks of a batch (1-based), which depend on nothing but its number. */
export function stepInputs(session: TrainingSession, batch: number, lr: number): Map<string, Tensor> {
  const { trainer, plan } = session
  const { training } = trainer
  return new Map([
    ...training.scalarsAt(batch, lr),
    ...training.dropouts.map((mask, i) => [mask.value.name, drawMask(mask, plan.seed, batch, i)] as const),
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
