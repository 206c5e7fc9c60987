/** The classifier of a run: the model's own, or a fresh one for the classes of the data. */

import { existsSync } from 'node:fs'
import type { Dataset } from '../data/index.ts'
import { describeStranger } from '../eval/task.ts'
import type { Model } from '../ir/graph.ts'
import { cloneModel, findHead, findLogits, reinitHead } from '../passes/index.ts'
import { loadModel, saveModel, type ModelFile } from '../serde/index.ts'
import { InputError, SwaError, UsageError } from '../util/errors.ts'
import type { RunFolder } from './run-folder.ts'

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
}

/** Whether a run starts with a fresh head, and of how many classes; null keeps the model's own. */
export function planHead(
  model: Model,
  dataset: Dataset,
  { head = 'auto', numClasses }: HeadOptions,
  output?: string,
): HeadPlan | null {
  if (numClasses !== undefined && (!Number.isSafeInteger(numClasses) || numClasses < 1)) {
    throw new UsageError(`--num-classes: expected a whole number above 0, found ${numClasses}`)
  }
  const inData = dataset.classes?.length
  if (numClasses !== undefined && inData !== undefined && inData > numClasses) {
    throw new UsageError(`--num-classes ${numClasses}: ${dataset.name} has ${inData} classes`)
  }
  if (head === 'reinit') {
    const classes = numClasses ?? inData
    if (classes === undefined) {
      throw new UsageError(`--head reinit: ${dataset.name} holds values, not classes`, {
        cure: 'say how many outputs the new head has with --num-classes',
      })
    }
    findHead(model, output)
    return { classes }
  }
  const own = classesOf(model, output)
  if (numClasses !== undefined && numClasses !== own) {
    if (head === 'keep') {
      throw new UsageError(
        `--num-classes ${numClasses} --head keep: the model has ${own ?? 'an unknown number of'} classes`,
      )
    }
    findHead(model, output)
    return { classes: numClasses }
  }
  if (head === 'auto' && own !== null && own > 1) checkSame(dataset, own)
  return null
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

/** What a run starts from: the model, or the one with a fresh head that the run folder keeps. */
export interface Start {
  readonly file: ModelFile
  readonly path: string
  readonly notes: readonly string[]
}

/** Opens the start of a run; the model with a new head is written once, so that everything after refers to one file. */
export async function openStart(
  run: RunFolder,
  file: ModelFile,
  {
    head,
    seed,
    settings,
    train,
  }: {
    readonly head?: HeadPlan
    readonly seed: number
    readonly settings: { readonly output?: string }
    readonly train: { readonly classes: readonly string[] | null }
  },
): Promise<Start> {
  if (!head) return { file, path: file.path, notes: [] }
  const { model } = cloneModel(file.model)
  const { output } = settings
  const classNames = train.classes?.length === head.classes ? { classNames: train.classes } : {}
  const { notes } = await reinitHead(model, {
    ...{ classes: head.classes, seed },
    ...classNames,
    ...(output === undefined ? {} : { output }),
  })
  const path = run.file('start.onnx')
  if (!existsSync(path)) await saveModel(model, path)
  return { file: await loadModel(path), path, notes }
}
