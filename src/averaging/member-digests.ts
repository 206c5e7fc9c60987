/** Hashes of members, made of the bytes that averaging reads anyway. */

import { basename } from 'node:path'
import type { Checkpoint } from './checkpoint.ts'
import { ElementHash, memberDigest, tensorDigest, type TensorDigest } from './digest.ts'
import { refuseTwice, type MemberRecord } from './members.ts'
import { PIECE } from './piece-hash.ts'
import type { PlannedFile } from './plan.ts'
import type { Hashed } from './streaming.ts'

type OpenMember = Pick<Checkpoint, 'path' | 'tensors' | 'partial'>

export class MemberDigests {
  readonly #files: readonly PlannedFile[]
  readonly #members: readonly OpenMember[]
  /** Tensor -> its hash in each member that is no partial average. */
  readonly #done = new Map<string, readonly string[]>()
  /** Of them those that nobody has noted. */
  #fresh: string[] = []

  constructor(files: readonly PlannedFile[], members: readonly OpenMember[]) {
    this.#files = files
    this.#members = members
  }

  /** Takes the hashes of a tensor's pieces, in order, as they come. */
  listen(name: string): Hashed {
    const members = this.#members.filter(({ partial }) => !partial)
    let hashes: ElementHash[] = []
    let pieces = 0
    return found => {
      if (pieces === 0) hashes = members.map(() => new ElementHash())
      const count = members.length === 0 ? 0 : found.length / members.length
      hashes.forEach((hash, m) => hash.addPieces(found.subarray(m * count, (m + 1) * count)))
      pieces += count
      const bytes = members[0]?.tensors.get(name)?.tensor?.byteLength ?? 0
      if (pieces < Math.ceil(bytes / PIECE)) return
      this.#done.set(
        name,
        hashes.map(hash => hash.digest()),
      )
      this.#fresh.push(name)
      pieces = 0
    }
  }

  /** The hashes of tensors that were read since the last call. */
  takeNew(): Record<string, readonly string[]> {
    const found = Object.fromEntries(this.#fresh.map(name => [name, this.#done.get(name)!]))
    this.#fresh = []
    return found
  }

  /** Takes hashes of an earlier run. */
  restore(digests: Readonly<Record<string, readonly string[]>>): void {
    for (const [name, list] of Object.entries(digests)) this.#done.set(name, list)
  }

  /** The members of all files; reads what was not read yet. Refuses those that would count twice. */
  async records(): Promise<MemberRecord[]> {
    const records: MemberRecord[] = []
    const known = new Map<string, string>()
    let m = 0
    for (const [i, file] of this.#files.entries()) {
      const member = this.#members[i]!
      const own = member.partial ? null : await this.#digestOf(member, m++)
      for (const record of file.members) {
        const digest = own ?? record.digest!
        const where = record.name === basename(file.path) ? file.path : `${record.name} in ${file.path}`
        refuseTwice(known.get(digest), digest, where)
        known.set(digest, where)
        records.push({ ...record, digest })
      }
    }
    return records
  }

  async #digestOf({ tensors }: OpenMember, m: number): Promise<string> {
    const digests: TensorDigest[] = []
    for (const [name, { tensor, dtype, dims }] of tensors) {
      const digest = this.#done.get(name)?.[m] ?? (await tensorDigest(tensor!))
      digests.push({ name, dtype, dims, digest })
    }
    return memberDigest(digests)
  }
}
