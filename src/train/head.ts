/** The classifier of a run: the model's own, or a fresh one for the classes of the data. */

import { existsSync } from 'node:fs'
import type { Dataset } from '../data/index.ts'
import { describeStranger } from '../eval/task.ts'
import type { Model } from '../ir/graph.ts'
import {
  classifyWeights,
  cloneModel,
  findHead,
  findLogits,
  freshNotes,
  reinitHead,
  withoutFunctions,
} from '../passes/index.ts'
import { loadModel, saveModel, type ModelFile } from '../serde/index.ts'
import { InputError, SwaError, UsageError } from '../util/errors.ts'
import type { RunSettings } from './options.ts'
import type { RunFolder } from './run-folder.ts'
import { lossRequests, takesValues, type LossRequest, type LossSettings } from './task.ts'

/**
 * `keep` trains the model's classifier, `reinit` starts a fresh one; `auto` keeps it where it has as many classes as
 * asked for, or as the data have.
 */
export type HeadChoice = 'auto' | 'keep' | 'reinit'

export interface HeadOptions {
  readonly head?: HeadChoice
  readonly numClasses?: number
}

/** A fresh head, as the plan of a run has it. */
export interface HeadPlan {
  readonly classes: number
  /** The outputs that get one, where there are several losses; else it is the output of the loss. */
  readonly outputs?: readonly string[]
}

/** Whether a run starts with a fresh head, and of how many classes; null keeps the model's own. */
export function planHead(
  source: Model,
  dataset: Dataset,
  { head = 'auto', numClasses }: HeadOptions,
  settings: LossSettings,
): HeadPlan | null {
  if (numClasses !== undefined && (!Number.isSafeInteger(numClasses) || numClasses < 1)) {
    throw new UsageError(`--num-classes: expected a whole number above 0, found ${numClasses}`)
  }
  const inData = dataset.classes?.length
  if (numClasses !== undefined && inData !== undefined && inData > numClasses) {
    throw new UsageError(`--num-classes ${numClasses}: ${dataset.name} has ${inData} classes`)
  }
  const model = withoutFunctions(source)
  const [main, ...others] = headRequests(dataset, settings)
  const output = main!.output
  const fresh = (classes: number): HeadPlan => {
    const first = findHead(model, output).classes
    if (lossRequests(settings).length === 1) return { classes }
    const alike = others.filter(request => findHead(model, request.output).classes === first)
    return { classes, outputs: [main!, ...alike].map(request => request.output!) }
  }
  if (head === 'reinit') {
    const classes = numClasses ?? inData
    if (classes === undefined) {
      throw new UsageError(`--head reinit: ${dataset.name} holds values, not classes`, {
        cure: 'say how many outputs the new head has with --num-classes',
      })
    }
    return fresh(classes)
  }
  const own = classesOf(model, output)
  if (numClasses !== undefined && numClasses !== own) {
    if (head === 'keep') {
      throw new UsageError(
        `--num-classes ${numClasses} --head keep: the model has ${own ?? 'an unknown number of'} classes`,
      )
    }
    return fresh(numClasses)
  }
  if (head === 'auto' && own !== null && own > 1) checkSame(dataset, own)
  return null
}

/** The losses of classes, that of the main output first: the others are of the same target, as auxiliary heads are. */
function headRequests(dataset: Dataset, settings: LossSettings): readonly LossRequest[] {
  const requests = lossRequests(settings)
  const [main, ...others] = requests.filter(({ kind }) => !takesValues(kind))
  if (!main) return requests.slice(0, 1)
  const targetOf = ({ target, output }: LossRequest) => target ?? output
  const shared = (other: LossRequest) => dataset.targets.length === 1 || targetOf(other) === targetOf(main)
  return [main, ...others.filter(shared)]
}

/** Class names that are more than their numbers stand for classes of their own, all of which are there. */
function checkSame(dataset: Dataset, outputs: number): void {
  const { classes, name } = dataset
  if (classes === null || classes.length === outputs) return
  const named = classes.some((label, i) => label !== String(i))
  if (classes.length < outputs && !named) return
  throw new InputError(
    `data: ${name} has ${classes.length} classes, the model has ${outputs} outputs${describeStranger(dataset, outputs)}`,
    {
      cure: `--head reinit starts a new classifier for them${classes.length < outputs ? '; --head keep trains the first outputs of the one there is' : ''}`,
    },
  )
}

/** The classes of the model: of its head where one is found, else what its output declares. */
function classesOf(model: Model, output: string | undefined): number | null {
  try {
    return findHead(model, output).classes
  } catch (error) {
    if (!(error instanceof SwaError)) throw error
  }
  try {
    const { type } = findLogits(model, output).output
    const dim = type?.kind === 'tensor' && type.shape?.length === 2 ? type.shape[1] : null
    return typeof dim === 'number' ? dim : null
  } catch (error) {
    if (error instanceof SwaError) return null
    throw error
  }
}

/** What of a plan decides the model that a run starts from. */
export interface StartPlan {
  readonly head?: HeadPlan
  readonly seed: number
  readonly settings: Pick<RunSettings, 'patterns'> & LossSettings
  readonly train: { readonly classes: readonly string[] | null }
}

/** The weights of the heads that get fresh numbers. */
export function headWeightNames(source: Model, head: HeadPlan, settings: LossSettings): string[] {
  const model = withoutFunctions(source)
  const layers = outputsOf(head, settings).flatMap(name => findHead(model, name).layers)
  return layers.flatMap(({ weight, bias }) => (bias ? [weight.name, bias.name] : [weight.name]))
}

/** The outputs that get a fresh head; undefined: the only one of the model. */
function outputsOf({ outputs }: HeadPlan, settings: LossSettings): readonly (string | undefined)[] {
  return outputs ?? [lossRequests(settings)[0]!.output]
}

/** A copy of the model with fresh heads; its local functions are written out where the head is inside one. */
export async function withNewHead(
  source: Model,
  { head, seed, settings, train }: StartPlan & { readonly head: HeadPlan },
): Promise<{ readonly model: Model; readonly notes: readonly string[] }> {
  const outputs = outputsOf(head, settings)
  const inside = source.functions.length > 0 && outputs.some(name => !hasHead(source, name))
  const { model } = cloneModel(inside ? withoutFunctions(source) : source)
  const classNames = train.classes?.length === head.classes ? { classNames: train.classes } : {}
  const notes: string[] = inside
    ? ['the local functions of the model are written out: its head is inside one']
    : []
  for (const [i, name] of outputs.entries()) {
    const wanted = { classes: head.classes, seed: seed + i, ...classNames }
    notes.push(...(await reinitHead(model, name === undefined ? wanted : { ...wanted, output: name })).notes)
  }
  const { freeze = [], constant = [], fresh = [] } = settings.patterns
  const names = (await classifyWeights(withoutFunctions(model))).map(({ name }) => name)
  notes.push(
    ...freshNotes('--freeze', freeze, names, fresh),
    ...freshNotes('--constant', constant, names, fresh),
  )
  return { model, notes }
}

function hasHead(model: Model, output: string | undefined): boolean {
  try {
    findHead(model, output)
    return true
  } catch (error) {
    if (error instanceof SwaError) return false
    throw error
  }
}

/** What a run starts from: the model, or the one with a fresh head that the run folder keeps. */
export interface Start {
  readonly file: ModelFile
  readonly path: string
  readonly notes: readonly string[]
}

/** Opens the start of a run; the model with a new head is written once, so that everything after refers to one file. */
export async function openStart(run: RunFolder, file: ModelFile, plan: StartPlan): Promise<Start> {
  const { head } = plan
  if (!head) return { file, path: file.path, notes: [] }
  const { model, notes } = await withNewHead(file.model, { ...plan, head })
  const path = run.file('start.onnx')
  if (!existsSync(path)) await saveModel(model, path)
  return { file: await loadModel(path), path, notes }
}
