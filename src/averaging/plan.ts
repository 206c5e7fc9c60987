/** Decides what an average is made of: nothing is written, and the plan can be printed as JSON. */

import { basename } from 'node:path'
import { InputError, UnsupportedError, UsageError } from '../util/errors.ts'
import { nameOf } from '../util/location.ts'
import { refuseQuantized } from '../passes/index.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import {
  matchTensors,
  openCheckpoint,
  renameTensors,
  stampOf,
  type Checkpoint,
  type CheckpointFormat,
  type CheckpointTensor,
  type FileStamp,
} from './checkpoint.ts'
import { lastFile, lookAt, refuseDuplicates, tensorSamples, type Seen } from './duplicates.ts'
import { fingerprintOf } from './fingerprint.ts'
import { describeModel, describeStructure, isCounter } from './graph-description.ts'
import { matchGraphs, type DescribedFile } from './match.ts'
import { ordinalOf, totalWeight, type PlannedMember } from './members.ts'
import { ignoredTensors, type PlaceChoices } from './place-choices.ts'
import { placeTensors, type Placed } from './placing.ts'
import { isAveraged } from './rounding.ts'
import { METHODS, recipeOf, type Method, type MethodKind, type Recipe } from './methods.ts'

/** `map` and `ignore` need a model that receives the average. */
export interface AverageOptions extends PlaceChoices {
  /** Default: the mean. */
  readonly method?: Method
  /** One for each file, in any ratio; default: equal. Not with partial averages, which bring their own. */
  readonly weights?: readonly number[]
  /** Only so many members, those of the greatest numbers in their names: the latest weights of a run (LAWA). */
  readonly last?: number
  /** The model that all members were fine-tuned from, for methods that look at differences to it. */
  readonly base?: string
  /** The model that receives the average; default: the first ONNX file. */
  readonly into?: string
  /** Tensors that are not floats: `equal` refuses different ones (counters excepted), `last` takes the last member's. */
  readonly integers?: 'equal' | 'last'
  /** Whether weights of ONNX models are those of the same names, or those at the same places of the graph. */
  readonly match?: 'names' | 'structure'
  /** NaN, and infinities that not all members have at one place: refused, or taken into the result. */
  readonly nonfinite?: 'refuse' | 'allow'
}

export interface PlannedFile extends FileStamp {
  readonly path: string
  readonly format: CheckpointFormat
  readonly role: 'member' | 'base'
  /** Factor of each element in a sum; 1 for a partial, whose sums hold the weights already. */
  readonly weight: number
  readonly members: readonly PlannedMember[]
  /** Names of its tensors, and those that they have in the first file, where they are others. */
  readonly renames?: readonly (readonly [own: string, name: string])[]
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
  /** For people: mean, weighted mean, TIES, ... */
  readonly title: string
  readonly method: Method
  readonly recipe: Recipe
  /** What sums are divided by: the weights of all files together. */
  readonly count: number
  readonly nonfinite: 'refuse' | 'allow'
  readonly files: readonly PlannedFile[]
  readonly tensors: readonly PlannedTensor[]
  /** What a person should look at before the average is used. */
  readonly warnings: readonly string[]
}

/** Looks at every file once (compares graphs and what is not averaged), one file open at a time beside the first. */
export async function planAverage(
  locations: readonly string[],
  options: AverageOptions = {},
): Promise<AveragePlan> {
  const base = options.base === undefined ? undefined : nameOf(options.base)
  const chosen = chooseFiles(locations.map(nameOf), { ...options, ...(base === undefined ? {} : { base }) })
  const firstPath = chosen.files[0]!.path
  const first = await openCheckpoint(firstPath)
  try {
    const seen: Seen[] = []
    let described: Described | null = null
    for (const [i, { path, role, weight }] of chosen.files.entries()) {
      const opened = i === 0 ? first : await openCheckpoint(path)
      try {
        const description = await describe(opened, options.match)
        if (described && description) matchGraphs(described, description)
        const renames = described && description ? renamesOf(described, description) : []
        const checkpoint = renameTensors(opened, renames)
        if (i > 0) matchTensors(first, checkpoint)
        described ??= description
        const found = await look(checkpoint, role, weight, description)
        seen.push(renames.length === 0 ? found : { ...found, file: { ...found.file, renames } })
      } finally {
        if (i > 0) await opened.close()
      }
    }
    const members = seen.filter(({ file }) => file.role === 'member')
    await refuseDuplicates(members)
    return await assemble(first, seen, chosen, options)
  } finally {
    await first.close()
  }
}

interface ChosenFile {
  readonly path: string
  readonly role: PlannedFile['role']
  readonly weight: number
}

interface Choice extends Pick<AveragePlan, 'method' | 'recipe'> {
  readonly files: readonly ChosenFile[]
}

/** The files in the order of the method, the base first, with their weights. */
function chooseFiles(given: readonly string[], options: AverageOptions): Choice {
  const { method = { kind: 'mean' }, weights, last, base } = options
  if (given.length === 0) throw new UsageError('average: no file was given')
  if (weights && weights.length !== given.length) {
    throw new UsageError(`average: expected ${given.length} weights, found ${weights.length}`)
  }
  const needsBase = METHODS[method.kind].base === true
  if (needsBase !== (base !== undefined)) {
    throw new UsageError(
      needsBase
        ? `average: ${method.kind} needs the model that the members were fine-tuned from`
        : `average: ${method.kind} has no use for a base`,
      needsBase ? { cure: 'name it with --base' } : {},
    )
  }
  const members = latest(given, method, weights, last)
  const recipe = recipeOf(method, members.length, weights && members.map(({ weight }) => weight))
  const paths = [...(base === undefined ? [] : [base]), ...members.map(({ path }) => path)]
  const factors = recipe.kind === 'sum' ? recipe.weights : paths.map(() => 1)
  const files = paths.map((path, i) => ({
    path,
    role: base !== undefined && i === 0 ? ('base' as const) : ('member' as const),
    weight: factors[i]!,
  }))
  return { method, recipe, files }
}

/** Methods for which it matters which member comes later. */
const IN_ORDER: ReadonlySet<MethodKind> = new Set(['ema', 'swag'])

/** Members in the order of training, where that matters; of them the last ones. */
function latest(
  given: readonly string[],
  method: Method,
  weights: readonly number[] | undefined,
  last: number | undefined,
): { readonly path: string; readonly weight: number }[] {
  const members = given.map((path, i) => ({ path, weight: weights?.[i] ?? 1 }))
  if (last === undefined && !IN_ORDER.has(method.kind)) return members
  if (last !== undefined && !(Number.isSafeInteger(last) && last >= 1)) {
    throw new UsageError(`average: last: expected a whole number of members, found ${last}`)
  }
  const ordered = members.sort((a, b) => ordinalOf(a.path) - ordinalOf(b.path))
  return last === undefined ? ordered : ordered.slice(-last)
}

function titleOf({ kind }: Method, members: readonly PlannedMember[]): string {
  const weighted = kind === 'mean' && members.some(({ weight }) => weight !== members[0]!.weight)
  return weighted ? 'weighted mean' : METHODS[kind].title
}

interface Described extends DescribedFile {
  /** Names of weights in the order of their use, where that is what tells them apart. */
  readonly weights: readonly string[]
}

/** For each weight of a file that is named otherwise the name of the one at its place in another file. */
function renamesOf({ weights: names }: Described, { weights }: Described): [string, string][] {
  const pairs = weights.map((own, i): [string, string] => [own, names[i]!])
  return pairs.filter(([own, name]) => own !== name)
}

async function describe(
  { path, model, format }: Checkpoint,
  match: AverageOptions['match'],
): Promise<Described | null> {
  if (!model && match === 'structure') {
    throw new UsageError(
      `average: ${path} is ${format}, which has no graph: expected ONNX models where they match by structure`,
    )
  }
  if (!model) return null
  refuseQuantized(model.model)
  if (match === 'structure') return { path, ...(await describeStructure(model.model)) }
  return { path, facts: await describeModel(model.model), weights: [] }
}

async function look(
  checkpoint: Checkpoint,
  role: PlannedFile['role'],
  weight: number,
  description: DescribedFile | null,
): Promise<Seen> {
  const { path, format, partial } = checkpoint
  const stamp = await stampOf(path)
  const prints = await lookAt(checkpoint)
  if (partial) {
    if (weight !== 1) {
      throw new UsageError(`average: ${path} is a partial average, whose members have their weights already`)
    }
    const file = { path, format, role, weight, members: partial.members, ...stamp }
    return { file, ...prints, fingerprint: partial.fingerprint }
  }
  const members = [{ name: basename(path), digest: null, weight, ordinal: ordinalOf(path) }]
  const fingerprint = description ? fingerprintOf(description.facts) : null
  return { file: { path, format, role, weight, members, ...stamp }, ...prints, fingerprint }
}

async function assemble(
  first: Checkpoint,
  seen: readonly Seen[],
  { method, recipe }: Pick<AveragePlan, 'method' | 'recipe'>,
  options: AverageOptions,
): Promise<AveragePlan> {
  const files = seen.map(({ file }) => file)
  const members = files.flatMap(file => file.members)
  const count = recipe.kind === 'sum' ? totalWeight(members) : members.length
  const partial = files.find(({ format }) => format === 'partial')
  if (partial && method.kind !== 'mean') {
    throw new UsageError(
      `average: ${partial.path} is a partial average: expected checkpoints for the method ${method.kind}, as sums do not tell single members`,
    )
  }
  const fingerprint = commonFingerprint(seen)
  const ignored = ignoredTensors([...first.tensors.keys()], options, first.path)
  const planned = [...first.tensors].map(([name, tensor]) => {
    const pattern = ignored.get(name)
    return pattern === undefined ? planTensor(name, tensor, seen, options) : leaveOut(name, tensor, pattern)
  })
  // Which file is the last one may take reading all of them.
  const last = planned.some(({ policy }) => policy === 'last')
    ? await lastFile(seen.filter(({ file }) => file.role === 'member'))
    : undefined
  const tensors = planned.map(tensor =>
    tensor.policy === 'last' && last !== undefined ? { ...tensor, from: last } : tensor,
  )
  const plan = {
    fingerprint,
    title: titleOf(method, members),
    method,
    recipe,
    count,
    nonfinite: options.nonfinite ?? 'refuse',
    files,
  } as const
  const into = options.into === undefined ? undefined : nameOf(options.into)
  const templatePath = into ?? files.find(({ format }) => format === 'onnx')?.path
  // A Gaussian is no model.
  if (templatePath === undefined || method.kind === 'swag') {
    refuseChoices(options)
    return { ...plan, output: 'safetensors', template: null, tensors, warnings: [] }
  }

  const template = await openCheckpoint(templatePath)
  try {
    if (!template.model)
      throw new UsageError(`average: ${templatePath} should be an ONNX model to receive the average`)
    const found = fingerprintOf((await describe(template, options.match))!.facts)
    if (fingerprint !== null && found !== fingerprint)
      await refuseTemplate(first, template, found, fingerprint, options.match)
    // Looking for tied tensors means reading all files once more: only where some name has no place.
    const isStranger = ({ name }: PlannedTensor) => !isCounter(name) && !template.tensors.has(name)
    const ties = tensors.some(isStranger) ? await tensorSamples(files) : new Map<string, string>()
    const tieOf = (name: string) => ties.get(name) ?? null
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
  const tensor = { name, dtype, dims }
  if (isAveraged(dtype) && fixed === null) return { ...tensor, policy: 'average', reason: `${dtype} weights` }
  const digests = seen.map(member => member.digests.get(name))
  const [reference] = digests
  const differing = seen.find((_, i) => digests[i] !== reference)
  const from = seen[0]!.file.path
  if (reference !== undefined && !differing) {
    return { ...tensor, policy: 'equal', reason: fixed ?? 'the same in all files', from }
  }
  if (isCounter(name) || (integers === 'last' && !isAveraged(dtype))) {
    const reason = isCounter(name) ? 'counter' : `elements are ${dtype}`
    return { ...tensor, policy: 'last', reason: `${reason}, not averaged` }
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
  match: AverageOptions['match'],
): Promise<never> {
  const [a, b] = [await describe(first, match), await describe(template, match)]
  if (a && b) matchGraphs(a, b)
  throw new InputError(
    `average: ${template.path} is not the graph that the members were trained with: expected fingerprint ${expected}, found ${found}`,
    { cure: 'give the model that the run started from' },
  )
}
