/** Decides what an average is made of: nothing is written, and the plan can be printed as JSON. */

import { basename } from 'node:path'
import { InputError, UnsupportedError, UsageError } from '../util/errors.ts'
import { refuseQuantized } from '../passes/index.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import {
  matchTensors,
  openCheckpoint,
  stampOf,
  type Checkpoint,
  type CheckpointFormat,
  type CheckpointTensor,
  type FileStamp,
} from './checkpoint.ts'
import { memberDigest, tensorDigest } from './digest.ts'
import { fingerprintOf } from './fingerprint.ts'
import { describeModel, isCounter } from './graph-description.ts'
import { matchGraphs, type DescribedFile } from './match.ts'
import { lastMember, ordinalOf, refuseTwice, totalWeight, type MemberRecord } from './members.ts'
import { ignoredTensors, type PlaceChoices } from './place-choices.ts'
import { placeTensors, type Placed } from './placing.ts'
import { isAveraged } from './rounding.ts'
import { wholeWeights } from './weights.ts'

/** `map` and `ignore` need a model that receives the average. */
export interface AverageOptions extends PlaceChoices {
  /** One for each file, in any ratio; default: equal. Not with partial averages, which bring their own. */
  readonly weights?: readonly number[]
  /** The model that receives the average; default: the first ONNX file. */
  readonly into?: string
  /** Tensors that are not floats: `equal` refuses different ones (counters excepted), `last` takes the last member's. */
  readonly integers?: 'equal' | 'last'
}

export interface PlannedFile extends FileStamp {
  readonly path: string
  readonly format: CheckpointFormat
  /** Factor of each element; 1 for a partial, whose sums hold the weights already. */
  readonly weight: number
  readonly members: readonly MemberRecord[]
}

export type TensorPolicy =
  /** The correctly rounded mean. */
  | 'average'
  /** The same bytes in every file; stays as it is. */
  | 'equal'
  /** Not averaged: the last member's. */
  | 'last'
  /** In the receiving model only; stays as it is. */
  | 'keep'
  /** In the files only: a counter, a tied weight or what was to be ignored. */
  | 'drop'

export interface PlannedTensor {
  readonly name: string
  /** Its name in the receiving model, where that is another one. */
  readonly place?: string
  /** Whether the receiving model has it transposed. */
  readonly transposed?: boolean
  /** How its place was found, where a model receives the average. */
  readonly placed?: Placed
  readonly dtype: DType
  readonly dims: Shape
  readonly policy: TensorPolicy
  readonly reason: string
  /** The file it comes from (`equal` and `last`). */
  readonly from?: string
}

export interface AveragePlan {
  /** ONNX when there is a model to receive the average. */
  readonly output: 'onnx' | 'safetensors'
  readonly template: (FileStamp & { readonly path: string }) | null
  readonly fingerprint: string | null
  readonly method: 'mean' | 'weighted mean'
  /** Sum of the members' weights. */
  readonly count: number
  readonly files: readonly PlannedFile[]
  readonly tensors: readonly PlannedTensor[]
  /** What a person should look at before the average is used. */
  readonly warnings: readonly string[]
}

/** What is kept of a file between looking at it and the next one. */
interface Seen {
  readonly file: PlannedFile
  readonly digests: ReadonlyMap<string, string>
  readonly fingerprint: string | null
}

/** Looks at every file once (compares graphs, hashes weights), one file open at a time beside the first. */
export async function planAverage(
  paths: readonly string[],
  options: AverageOptions = {},
): Promise<AveragePlan> {
  const [firstPath] = paths
  if (firstPath === undefined) throw new UsageError('average: no file was given')
  if (options.weights && options.weights.length !== paths.length) {
    throw new UsageError(`average: expected ${paths.length} weights, found ${options.weights.length}`)
  }
  const weights = options.weights ? wholeWeights(options.weights) : paths.map(() => 1)
  const first = await openCheckpoint(firstPath)
  try {
    const seen: Seen[] = []
    const hashes = new Map<string, string>()
    let described: DescribedFile | null = null
    for (const [i, path] of paths.entries()) {
      const checkpoint = i === 0 ? first : await openCheckpoint(path)
      try {
        const description = await describe(checkpoint)
        if (described && description) matchGraphs(described, description)
        if (i > 0) matchTensors(first, checkpoint)
        described ??= description
        const member = await look(checkpoint, weights[i]!, description)
        for (const record of member.file.members) {
          refuseTwice(hashes.get(record.sha256), record, path)
          hashes.set(record.sha256, record.name === basename(path) ? path : `${record.name} in ${path}`)
        }
        seen.push(member)
      } finally {
        if (i > 0) await checkpoint.close()
      }
    }
    return await assemble(first, seen, options)
  } finally {
    await first.close()
  }
}

async function describe({ path, model }: Checkpoint): Promise<DescribedFile | null> {
  if (!model) return null
  refuseQuantized(model.model)
  return { path, facts: await describeModel(model.model) }
}

async function look(
  checkpoint: Checkpoint,
  weight: number,
  description: DescribedFile | null,
): Promise<Seen> {
  const { path, format, tensors, partial } = checkpoint
  const stamp = await stampOf(path)
  const digests = new Map<string, string>()
  for (const [name, { tensor }] of tensors) if (tensor) digests.set(name, await tensorDigest(tensor))
  if (partial) {
    if (weight !== 1) {
      throw new UsageError(`average: ${path} is a partial average, whose members have their weights already`)
    }
    const file = { path, format, weight, members: partial.members, ...stamp }
    return { file, digests, fingerprint: partial.fingerprint }
  }
  const sha256 = memberDigest(
    [...tensors].map(([name, { dtype, dims }]) => ({ name, dtype, dims, sha256: digests.get(name)! })),
  )
  const members = [{ name: basename(path), sha256, weight, ordinal: ordinalOf(path) }]
  const fingerprint = description ? fingerprintOf(description.facts) : null
  return { file: { path, format, weight, members, ...stamp }, digests, fingerprint }
}

async function assemble(
  first: Checkpoint,
  seen: readonly Seen[],
  options: AverageOptions,
): Promise<AveragePlan> {
  const files = seen.map(({ file }) => file)
  const members = files.flatMap(file => file.members)
  const count = totalWeight(members)
  const fingerprint = commonFingerprint(seen)
  const ignored = ignoredTensors([...first.tensors.keys()], options, first.path)
  const tensors = [...first.tensors].map(([name, tensor]) => {
    const pattern = ignored.get(name)
    return pattern === undefined ? planTensor(name, tensor, seen, options) : leaveOut(name, tensor, pattern)
  })
  const plan = {
    fingerprint,
    method: members.every(({ weight }) => weight === members[0]!.weight) ? 'mean' : 'weighted mean',
    count,
    files,
  } as const
  const templatePath = options.into ?? files.find(({ format }) => format === 'onnx')?.path
  if (templatePath === undefined) {
    refuseChoices(options)
    return { ...plan, output: 'safetensors', template: null, tensors, warnings: [] }
  }

  const template = await openCheckpoint(templatePath)
  try {
    if (!template.model)
      throw new UsageError(`average: ${templatePath} should be an ONNX model to receive the average`)
    const found = fingerprintOf(await describeModel(template.model.model))
    if (fingerprint !== null && found !== fingerprint)
      await refuseTemplate(first, template, found, fingerprint)
    const tieOf = (name: string) => {
      const digests = seen.map(member => member.digests.get(name))
      return digests.includes(undefined) ? null : digests.join()
    }
    const placing = await placeTensors(tensors, {
      ...{ template: { ...template, model: template.model }, first, tieOf },
      ...{ paths: files.map(({ path }) => path), choices: options },
    })
    const stamp = await stampOf(templatePath)
    return {
      ...plan,
      fingerprint: found,
      output: 'onnx',
      template: { path: templatePath, ...stamp },
      ...placing,
    }
  } finally {
    await template.close()
  }
}

function commonFingerprint(seen: readonly Seen[]): string | null {
  const known = seen.filter(({ fingerprint }) => fingerprint !== null)
  const other = known.find(({ fingerprint }) => fingerprint !== known[0]!.fingerprint)
  if (other) {
    throw new InputError(
      `average: ${other.file.path} belongs to another graph than ${known[0]!.file.path}: expected fingerprint ${known[0]!.fingerprint!}, found ${other.fingerprint!}`,
    )
  }
  return known[0]?.fingerprint ?? null
}

function planTensor(
  name: string,
  { dtype, dims, fixed }: CheckpointTensor,
  seen: readonly Seen[],
  { integers = 'equal' }: AverageOptions,
): PlannedTensor {
  const digests = seen.map(member => member.digests.get(name))
  const [reference] = digests
  const differing = seen.find((_, i) => digests[i] !== reference)
  const from = seen[0]!.file.path
  const tensor = { name, dtype, dims }
  if (reference !== undefined && !differing) {
    return { ...tensor, policy: 'equal', reason: fixed ?? 'the same in all files', from }
  }
  if (isAveraged(dtype) && fixed === null) return { ...tensor, policy: 'average', reason: `${dtype} weights` }
  if (isCounter(name) || (integers === 'last' && !isAveraged(dtype))) {
    const last = lastMember(seen.flatMap(({ file }) => file.members))
    const path = seen.find(({ file }) => file.members.includes(last))!.file.path
    const reason = isCounter(name) ? 'counter' : `elements are ${dtype}`
    return { ...tensor, policy: 'last', reason: `${reason}, not averaged`, from: path }
  }
  const why = fixed ?? `elements are ${dtype}`
  const message = `average: tensor "${name}" ${dtype}${formatShape(dims)} is not averaged (${why}): expected the same in all files, found other values in ${differing!.file.path} than in ${from}`
  if (DTYPES[dtype].float) throw new UnsupportedError(message)
  throw new InputError(message, { cure: 'take those of the last file with --integers last' })
}

function leaveOut(name: string, { dtype, dims }: CheckpointTensor, pattern: string): PlannedTensor {
  return { name, dtype, dims, policy: 'drop', reason: `left out by --ignore "${pattern}"` }
}

function refuseChoices({ map = [], ignore = [] }: PlaceChoices): void {
  if (map.length + ignore.length === 0) return
  throw new UsageError(`--${map.length > 0 ? 'map' : 'ignore'}: expected a model that receives the average`, {
    cure: 'name it with --into model.onnx',
  })
}

async function refuseTemplate(
  first: Checkpoint,
  template: Checkpoint,
  found: string,
  expected: string,
): Promise<never> {
  const [a, b] = [await describe(first), await describe(template)]
  if (a && b) matchGraphs(a, b)
  throw new InputError(
    `average: ${template.path} is not the graph that the members were trained with: expected fingerprint ${expected}, found ${found}`,
    { cure: 'give the model that the run started from' },
  )
}
