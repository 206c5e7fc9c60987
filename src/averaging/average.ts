/** Carries out a plan: opens the files, streams every tensor through its sums, writes the result atomically. */

import { InputError, UsageError } from '../util/errors.ts'
import type { WrittenFile } from '../util/files.ts'
import { sizeOf } from '../tensor/shape.ts'
import { elementBytes, Work, type OpenMember, type RunOptions } from './average-work.ts'
import { checkStamp, openCheckpoint, renameTensors } from './checkpoint.ts'
import type { MemberRecord } from './members.ts'
import { planAverage, type AveragePlan } from './plan.ts'
import { Summer } from './summer.ts'

export type { AverageProgress, RunOptions } from './average-work.ts'

export interface AverageReport {
  readonly path: string
  readonly output: 'onnx' | 'safetensors' | 'partial' | 'swag'
  readonly members: number
  /** What went into it, in the order of the plan's files, with the hashes of their weights. */
  readonly records: readonly MemberRecord[]
  /** What was written, with checksums. */
  readonly written: readonly WrittenFile[]
  /** Tensors and elements that were averaged. */
  readonly tensors: number
  readonly elements: number
}

/** Writes the average that was planned to `out`. */
export async function runAverage(
  plan: AveragePlan,
  out: string,
  options: RunOptions = {},
): Promise<AverageReport> {
  const checkpoints: OpenMember[] = []
  let summer: Summer | null = null
  try {
    for (const file of plan.files) {
      await checkStamp(file)
      const { model: _model, ...member } = await openCheckpoint(file.path)
      checkpoints.push(renameTensors(member, file.renames))
    }
    summer = new Summer({
      ...options,
      bytes: plan.files.length * elementBytes(plan),
      nonfinite: plan.nonfinite,
    })
    const work = new Work(plan, checkpoints, summer, options)
    const partial = options.as === 'partial'
    if (options.resume && (partial || plan.recipe.kind === 'swag')) {
      throw new UsageError('average: resume: expected an average that is a model, or weights')
    }
    if (partial && plan.method.kind !== 'mean') {
      throw new UsageError(
        `average: expected the method mean for a partial average, found ${plan.method.kind}`,
      )
    }
    const written = await (partial
      ? work.writePartial(out)
      : plan.recipe.kind === 'swag'
        ? work.writeSwag(out, plan.recipe.rank)
        : plan.output === 'onnx'
          ? work.writeModel(out)
          : work.writeTensors(out))
    const averaged = plan.tensors.filter(({ policy }) => policy === 'average')
    return {
      path: out,
      output: partial ? 'partial' : plan.recipe.kind === 'swag' ? 'swag' : plan.output,
      members: plan.files.reduce(
        (sum, { role, members }) => sum + (role === 'member' ? members.length : 0),
        0,
      ),
      tensors: averaged.length,
      elements: averaged.reduce((sum, { dims }) => sum + sizeOf(dims), 0),
      records: await work.records(),
      written,
    }
  } finally {
    await summer?.close()
    for (const checkpoint of checkpoints) await checkpoint.close()
  }
}

/** Merges partial averages into one: byte for byte the partial average of all their members. */
export async function mergePartials(
  paths: readonly string[],
  out: string,
  options: Omit<RunOptions, 'as'> = {},
): Promise<AverageReport> {
  const plan = await planAverage(paths)
  const other = plan.files.find(({ format }) => format !== 'partial')
  if (other) throw new InputError(`average: ${other.path}: expected a partial average, found ${other.format}`)
  return runAverage(plan, out, { ...options, as: 'partial' })
}
