/** Carries out a plan: opens the files, streams every tensor through its sums, writes the result atomically. */

import { InputError, InterruptedError, UsageError } from '../util/errors.ts'
import { openSafetensors, writePatched, writeSafetensors, type SafetensorsContent } from '../serde/index.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { openCheckpoint, stampOf, type Checkpoint, type FileStamp } from './checkpoint.ts'
import { writePartial, type SumContent } from './partial.ts'
import { planAverage, type AveragePlan, type PlannedTensor } from './plan.ts'
import { averageMetadata } from './provenance.ts'
import { isAveraged } from './rounding.ts'
import { isIndex } from './shards.ts'
import { MeanSource, readBytes, SumSource, tailOf, type SummedTensor } from './streaming.ts'
import { Transposer, type MatrixShape } from './transposed.ts'

export interface AverageProgress {
  /** Bytes of the output that are made, of `total`. */
  readonly done: number
  readonly total: number
  /** The tensor under way. */
  readonly tensor: string
}

export interface RunOptions {
  /** `result` rounds the means; `partial` keeps the exact sums, to be merged with others. */
  readonly as?: 'result' | 'partial'
  readonly onProgress?: (progress: AverageProgress) => void
  readonly signal?: AbortSignal
}

export interface AverageReport {
  readonly path: string
  readonly output: 'onnx' | 'safetensors' | 'partial'
  readonly members: number
  /** Tensors and elements that were averaged. */
  readonly tensors: number
  readonly elements: number
}

/** A checkpoint without its graph, which hundreds of members would keep in memory. */
type OpenMember = Omit<Checkpoint, 'model'>

/** Writes the average that was planned to `out`. */
export async function runAverage(
  plan: AveragePlan,
  out: string,
  options: RunOptions = {},
): Promise<AverageReport> {
  const checkpoints: OpenMember[] = []
  try {
    for (const file of plan.files) {
      await checkStamp(file)
      const { path, format, tensors, partial, close } = await openCheckpoint(file.path)
      checkpoints.push({ path, format, tensors, partial, close })
    }
    const work = new Work(plan, checkpoints, options)
    const partial = options.as === 'partial'
    if (partial) await work.writePartial(out)
    else if (plan.output === 'onnx') await work.writeModel(out)
    else await work.writeTensors(out)
    const averaged = plan.tensors.filter(({ policy }) => policy === 'average')
    return {
      path: out,
      output: partial ? 'partial' : plan.output,
      members: plan.files.reduce((sum, file) => sum + file.members.length, 0),
      tensors: averaged.length,
      elements: averaged.reduce((sum, { dims }) => sum + sizeOf(dims), 0),
    }
  } finally {
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

async function checkStamp({ path, bytes, modified }: FileStamp & { readonly path: string }): Promise<void> {
  const found = await stampOf(path)
  if (found.bytes === bytes && found.modified === modified) return
  throw new InputError(
    `average: ${path} has changed since the average was planned (${bytes} bytes then, ${found.bytes} now)`,
    { cure: 'run the command again when the file is complete' },
  )
}

class Work {
  readonly #plan: AveragePlan
  readonly #checkpoints: readonly OpenMember[]
  readonly #options: RunOptions
  #done = 0
  #total = 0

  constructor(plan: AveragePlan, checkpoints: readonly OpenMember[], options: RunOptions) {
    this.#plan = plan
    this.#checkpoints = checkpoints
    this.#options = options
  }

  async writeModel(out: string): Promise<void> {
    const { template } = this.#plan
    await checkStamp(template!)
    const target = await openCheckpoint(template!.path)
    const transposer = new Transposer(out)
    try {
      const replacements = new Map<Tensor, ByteSource>()
      for (const tensor of this.#plan.tensors) {
        const source = this.#sourceOf(tensor, template!.path)
        if (!source) continue
        const watched = this.#watched(source, tensor.name)
        const elements = tensor.transposed ? transposer.transpose(watched, matrixOf(tensor)) : watched
        replacements.set(target.tensors.get(tensor.place ?? tensor.name)!.tensor!, elements)
      }
      await writePatched(target.model!, out, replacements, averageMetadata(this.#plan))
    } finally {
      await transposer.close()
      await target.close()
    }
  }

  async writeTensors(out: string): Promise<void> {
    const entries = this.#plan.tensors.map((tensor): [string, SafetensorsContent] => {
      const { name, dtype, dims } = tensor
      return [name, { dtype, dims, source: this.#watched(this.#sourceOf(tensor, null)!, name) }]
    })
    await writeSafetensors(
      out,
      entries,
      new Map([...(await this.#metadata()), ...averageMetadata(this.#plan)]),
    )
  }

  async writePartial(out: string): Promise<void> {
    const { tensors, files, fingerprint } = this.#plan
    const sums: [string, SumContent][] = []
    const last = new Map<string, Tensor>()
    for (const tensor of tensors) {
      const { name, dtype, dims, policy } = tensor
      if (policy === 'keep' || policy === 'drop') {
        throw new UsageError(`average: a partial average is not written into a model (tensor "${name}")`)
      }
      const given = this.#checkpoints[0]!.tensors.get(name)!
      if (isAveraged(dtype) && given.fixed === null) {
        const summed = this.#summed(tensor)
        const pairs = this.#watched(new SumSource(summed), name)
        sums.push([name, { dtype, dims, pairs, tail: await tailOf(summed) }])
      } else last.set(name, this.#given(tensor))
    }
    await writePartial(out, { fingerprint, members: files.flatMap(file => file.members), sums, last })
  }

  /** New bytes for a tensor; null where the receiving file has them already. */
  #sourceOf(tensor: PlannedTensor, template: string | null): ByteSource | null {
    switch (tensor.policy) {
      case 'average':
        return new MeanSource(this.#summed(tensor), this.#plan.count)
      case 'equal':
      case 'last':
        return tensor.from === template ? null : tensorSource(tensor.name, this.#given(tensor))
      case 'keep':
      case 'drop':
        return null
    }
  }

  #summed({ name, dtype, dims }: PlannedTensor): SummedTensor {
    const summands = this.#checkpoints.map((checkpoint, i) => {
      const member = checkpoint.path
      const sums = checkpoint.partial?.sums.get(name)
      if (sums) return { kind: 'sums' as const, member, pairs: sums.pairs, tail: sums.tail }
      const tensor = checkpoint.tensors.get(name)!.tensor!
      return { kind: 'elements' as const, member, tensor, weight: this.#plan.files[i]!.weight }
    })
    return { name, dtype: dtype as SummedTensor['dtype'], dims, summands }
  }

  /** The tensor of the file that the plan names. */
  #given({ name, from }: PlannedTensor): Tensor {
    return this.#checkpoints.find(({ path }) => path === from)!.tensors.get(name)!.tensor!
  }

  /** What the first safetensors file says about itself (such as `format: pt`), without our own entries. */
  async #metadata(): Promise<Map<string, string>> {
    const first = this.#checkpoints.find(({ format, path }) => format === 'safetensors' && !isIndex(path))
    if (!first) return new Map()
    const file = await openSafetensors(first.path)
    await file.close()
    return new Map([...file.metadata].filter(([key]) => !key.startsWith('swa_onnx.')))
  }

  /** Reports progress, heeds the abort signal, and checks at the end that no file has changed on the way. */
  #watched(source: ByteSource, tensor: string): ByteSource {
    const { onProgress, signal } = this.#options
    this.#total += source.byteLength
    return {
      name: source.name,
      byteLength: source.byteLength,
      read: async (offset, length) => {
        if (signal?.aborted) throw new InterruptedError('average: interrupted; nothing was written')
        const bytes = await source.read(offset, length)
        // A writer that compares sources reads some of them more often.
        this.#done = Math.min(this.#done + length, this.#total)
        onProgress?.({ done: this.#done, total: this.#total, tensor })
        if (this.#done === this.#total) for (const file of this.#plan.files) await checkStamp(file)
        return bytes
      },
      close: () => source.close(),
    }
  }
}

function matrixOf({ dtype, dims }: PlannedTensor): MatrixShape {
  return { rows: dims[0]!, columns: dims[1]!, width: DTYPES[dtype].bits / 8 }
}

function tensorSource(name: string, tensor: Tensor): ByteSource {
  return {
    name: `tensor "${name}"`,
    byteLength: tensor.byteLength,
    read: (offset, length) => readBytes(tensor, offset, length),
    close: () => Promise.resolve(),
  }
}
