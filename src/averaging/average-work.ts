/** The files of an average: every tensor streamed through its sums into a model, weights, sums or a Gaussian. */

import { InputError, InterruptedError, UsageError } from '../util/errors.ts'
import { writePatched, writeSafetensors, type LateMetadata, type SafetensorsContent } from '../serde/index.ts'
import type { WrittenFile } from '../util/files.ts'
import { byteLengthOf } from '../tensor/dtype.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { checkStamp, openCheckpoint, type Checkpoint } from './checkpoint.ts'
import { AverageJournal } from './journal.ts'
import { writePartial, type SumContent } from './partial.ts'
import type { AveragePlan, PlannedTensor } from './plan.ts'
import { averageMetadata } from './provenance.ts'
import { isAveraged, type AveragedDType } from './rounding.ts'
import { MemberDigests } from './member-digests.ts'
import type { MemberRecord } from './members.ts'
import { CombinedSource, MeanSource, OrderSource, SumSource, SwagSource, tailOf } from './streaming.ts'
import type { SummedTensor } from './summand.ts'
import type { Summer } from './summer.ts'
import { writeSwag, type SwagContent } from './swag.ts'
import { readBytes } from './tensor-bytes.ts'
import { Transposer, type MatrixShape } from './transposed.ts'

export interface AverageProgress {
  /** Bytes of the output that are made, of `total`. */
  readonly done: number
  readonly total: number
  /** The tensor under way. */
  readonly tensor: string
}

export interface RunOptions {
  /** Take SHA-256 of what is written; default: of up to CHECKED bytes, as it costs a fifth of the time. */
  readonly checksum?: boolean
  /** Keep what is finished when the work is interrupted, and go on from there. Not for partial averages. */
  readonly resume?: boolean
  /** Threads that read and add; default: one for each core, at most eight, none for small files. */
  readonly threads?: number
  /** `result` rounds the means; `partial` keeps the exact sums, to be merged with others. */
  readonly as?: 'result' | 'partial'
  readonly onProgress?: (progress: AverageProgress) => void
  readonly signal?: AbortSignal
}

/** A checkpoint without its graph, which hundreds of members would keep in memory. */
export type OpenMember = Omit<Checkpoint, 'model'>

/** Outputs of up to so many bytes have a checksum unless it is asked for. */
const CHECKED = 1 << 28

/** Bytes of the tensors that are averaged. */
export function elementBytes({ tensors }: AveragePlan): number {
  const averaged = tensors.filter(({ policy }) => policy === 'average')
  return averaged.reduce((sum, { dtype, dims }) => sum + byteLengthOf(dtype, sizeOf(dims)), 0)
}

/** One run of a plan. */
export class Work {
  readonly #plan: AveragePlan
  readonly #checkpoints: readonly OpenMember[]
  readonly #summer: Summer
  readonly #options: RunOptions
  readonly #digests: MemberDigests
  #records: Promise<MemberRecord[]> | null = null
  #done = 0
  #total = 0

  constructor(plan: AveragePlan, checkpoints: readonly OpenMember[], summer: Summer, options: RunOptions) {
    this.#plan = plan
    this.#checkpoints = checkpoints
    this.#summer = summer
    this.#options = options
    this.#digests = new MemberDigests(plan.files, checkpoints)
  }

  get #checksum(): boolean {
    const { checksum = elementBytes(this.#plan) <= CHECKED } = this.#options
    return checksum
  }

  records(): Promise<MemberRecord[]> {
    return (this.#records ??= this.#digests.records())
  }

  async writeModel(out: string): Promise<WrittenFile[]> {
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
      const external = [...target.tensors.values()].some(({ tensor }) => isExternal(tensor, template!.path))
      return await this.#resumable(external ? `${out}.data` : out, journal =>
        writePatched(target.model!, out, replacements, this.#metadata(), {
          checksum: this.#checksum,
          journal,
        }),
      )
    } finally {
      await transposer.close()
      await target.close()
    }
  }

  async writeTensors(out: string): Promise<WrittenFile[]> {
    const entries = this.#plan.tensors.map((tensor): [string, SafetensorsContent] => {
      const { name, dtype, dims } = tensor
      return [name, { dtype, dims, source: this.#watched(this.#sourceOf(tensor, null)!, name) }]
    })
    // The metadata come before the tensors, from which the members' hashes come: those are in the report alone.
    const members = this.#plan.files.flatMap(file =>
      file.members.map(({ digest: _digest, ...member }) => member),
    )
    const metadata = new Map([...this.#givenMetadata(), ...averageMetadata(this.#plan, members)])
    const check = () => this.records()
    return this.#resumable(out, async journal => [
      await writeSafetensors(out, entries, metadata, { checksum: this.#checksum, check, journal }),
    ])
  }

  async writeSwag(out: string, rank: number): Promise<WrittenFile[]> {
    const { tensors, fingerprint } = this.#plan
    const gaussians: SwagContent[] = []
    const last = new Map<string, Tensor>()
    for (const tensor of tensors) {
      const { name, dtype, dims, policy } = tensor
      if (policy !== 'average') {
        last.set(name, this.#given(tensor))
        continue
      }
      const source = this.#watched(new SwagSource(this.#summed(tensor), rank, this.#summer), name)
      gaussians.push({ name, dtype: dtype as AveragedDType, dims, source })
    }
    const records = await this.records()
    const content = { rank, fingerprint, gaussians, last, metadata: averageMetadata(this.#plan, records) }
    return [await writeSwag(out, content)]
  }

  async writePartial(out: string): Promise<WrittenFile[]> {
    const { tensors, fingerprint } = this.#plan
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
        const pairs = this.#watched(new SumSource(summed, this.#summer), name)
        const tail = await tailOf(summed, this.#summer, this.#digests.listen(name))
        sums.push([name, { dtype, dims, pairs, tail }])
      } else last.set(name, this.#given(tensor))
    }
    const members = await this.records()
    return writePartial(out, { fingerprint, members, sums, last })
  }

  /** Writes with a journal, if that is wanted: `file` is the one that it is about. */
  async #resumable(
    file: string,
    write: (journal: AverageJournal | undefined) => Promise<WrittenFile[]>,
  ): Promise<WrittenFile[]> {
    if (!this.#options.resume) return write(undefined)
    const journal = await AverageJournal.open(this.#plan, this.#plan.output, file, this.#digests)
    this.#done = journal.bytes
    try {
      const written = await write(journal)
      await journal.close()
      return written
    } catch (error) {
      // What members are at fault for is at fault in what was written of them, too.
      if (error instanceof InputError) await AverageJournal.discard(file)
      throw error
    }
  }

  /** New bytes for a tensor; null where the receiving file has them already. */
  #sourceOf(tensor: PlannedTensor, template: string | null): ByteSource | null {
    switch (tensor.policy) {
      case 'average':
        return this.#averaged(tensor)
      case 'equal':
      case 'last':
        return tensor.from === template ? null : tensorSource(tensor.name, this.#given(tensor))
      case 'keep':
      case 'drop':
        return null
    }
  }

  #averaged(tensor: PlannedTensor): ByteSource {
    const { recipe, count, tensors } = this.#plan
    const summed = this.#summed(tensor)
    switch (recipe.kind) {
      case 'sum':
        return new MeanSource(summed, count, this.#summer, this.#digests.listen(tensor.name))
      case 'order':
        return new OrderSource(summed, recipe.trim, this.#summer)
      case 'swag':
        throw new UsageError('average: a Gaussian is not one mean')
      case 'combine':
        return new CombinedSource(summed, recipe.method, tensors.indexOf(tensor), this.#summer)
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

  /** What a model says about how it was made, at its end; the members' hashes are known when all is read. */
  #metadata(): LateMetadata {
    const entries = (members: readonly MemberRecord[]) => averageMetadata(this.#plan, members)
    const members = this.#plan.files.flatMap(file => file.members)
    const unknown = '0'.repeat(64)
    return {
      provisional: entries(members.map(member => ({ ...member, digest: member.digest ?? unknown }))),
      settle: async () => entries(await this.records()),
    }
  }

  /** What the first safetensors file says about itself (such as `format: pt`), without our own entries. */
  #givenMetadata(): Map<string, string> {
    const given =
      this.#checkpoints.find(({ metadata }) => metadata.size > 0)?.metadata ?? new Map<string, string>()
    return new Map([...given].filter(([key]) => !key.startsWith('swa_onnx.')))
  }

  /** Reports progress, heeds the abort signal, and checks at the end that no file has changed on the way. */
  #watched(source: ByteSource, tensor: string): ByteSource {
    const { onProgress, signal, resume } = this.#options
    this.#total += source.byteLength
    const heed = () => {
      if (!signal?.aborted) return
      const kept = resume ? 'what is finished is kept: run the command again to go on' : 'nothing was written'
      throw new InterruptedError(`average: interrupted; ${kept}`)
    }
    const count = async (length: number) => {
      // A writer that compares sources reads some of them more often.
      this.#done = Math.min(this.#done + length, this.#total)
      onProgress?.({ done: this.#done, total: this.#total, tensor })
      if (this.#done === this.#total) for (const file of this.#plan.files) await checkStamp(file)
    }
    const pieces = source.pieces?.bind(source)
    return {
      name: source.name,
      byteLength: source.byteLength,
      read: async (offset, length) => {
        heed()
        const bytes = await source.read(offset, length)
        await count(length)
        return bytes
      },
      ...(pieces && {
        async *pieces() {
          for await (const piece of pieces()) {
            heed()
            await count(piece.byteLength)
            yield piece
          }
        },
      }),
      close: () => source.close(),
    }
  }
}

/** Whether a tensor's elements are in another file than the model. */
function isExternal(tensor: Tensor | null, model: string): boolean {
  return tensor !== null && 'source' in tensor.data && tensor.data.source.name !== model
}

function matrixOf({ dtype, dims }: PlannedTensor): MatrixShape {
  return { rows: dims[0]!, columns: dims[1]!, width: byteLengthOf(dtype, 1) }
}

function tensorSource(name: string, tensor: Tensor): ByteSource {
  return {
    name: `tensor "${name}"`,
    byteLength: tensor.byteLength,
    read: (offset, length) => readBytes(tensor, offset, length),
    close: () => Promise.resolve(),
  }
}
