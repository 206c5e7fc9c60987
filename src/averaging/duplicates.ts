/**
 * Looking at members without reading them whole: what is not averaged is hashed, of what is averaged a sample. Members
 * with different samples are different; those with the same are read whole to tell whether they would count twice.
 */

import { createHash, type Hash } from 'node:crypto'
import { openCheckpoint, type Checkpoint } from './checkpoint.ts'
import { checkpointDigest, tensorDigest } from './digest.ts'
import { lastMember, refuseTwice, type PlannedMember } from './members.ts'
import type { PlannedFile } from './plan.ts'
import { isAveraged } from './rounding.ts'
import { readBytes } from './tensor-bytes.ts'

/** What is kept of a file between looking at it and the next one. */
export interface Seen {
  readonly file: PlannedFile
  /** Of tensors that are not averaged. */
  readonly digests: ReadonlyMap<string, string>
  readonly sample: string
  readonly fingerprint: string | null
}

/** Of so many of the largest tensors so many bytes are looked at. */
const SAMPLED = 16
const SAMPLE_BYTES = 4096

export async function lookAt({ tensors }: Checkpoint): Promise<Pick<Seen, 'digests' | 'sample'>> {
  const digests = new Map<string, string>()
  const sample = createHash('sha256')
  for (const [name, { tensor, dtype, fixed }] of tensors) {
    if (!tensor || (isAveraged(dtype) && fixed === null)) continue
    const digest = await tensorDigest(tensor)
    digests.set(name, digest)
    sample.update(digest)
  }
  const averaged = [...tensors.values()].flatMap(({ tensor, dtype }) =>
    tensor && isAveraged(dtype) ? [tensor] : [],
  )
  const largest = averaged.sort((a, b) => b.byteLength - a.byteLength).slice(0, SAMPLED)
  for (const tensor of largest) {
    sample.update(await readBytes(tensor, 0, Math.min(SAMPLE_BYTES, tensor.byteLength)))
  }
  return { digests, sample: sample.digest('hex') }
}

/** Refuses members that would count twice. Members in a partial average are compared with files when those are read. */
export async function refuseDuplicates(seen: readonly Seen[]): Promise<void> {
  const samples = new Map<string, string[]>()
  for (const { file, sample } of seen) {
    if (file.format !== 'partial') samples.set(sample, [...(samples.get(sample) ?? []), file.path])
  }
  for (const alike of samples.values()) {
    if (alike.length < 2) continue
    const known = new Map<string, string>()
    for (const path of alike) {
      const digest = await fileDigest(path)
      refuseTwice(known.get(digest), digest, path)
      known.set(digest, path)
    }
  }
  const known = new Map<string, string>()
  for (const { file } of seen) {
    for (const { name, digest } of file.members) {
      if (digest === null) continue
      refuseTwice(known.get(digest), digest, `${name} in ${file.path}`)
      known.set(digest, `${name} in ${file.path}`)
    }
  }
}

async function fileDigest(path: string): Promise<string> {
  const checkpoint = await openCheckpoint(path)
  try {
    return await checkpointDigest(checkpoint)
  } finally {
    await checkpoint.close()
  }
}

/** Of each tensor what it begins with in all files: tensors with the same are tied. Partial averages have no elements. */
export async function tensorSamples(files: readonly PlannedFile[]): Promise<Map<string, string>> {
  const samples = new Map<string, Hash>()
  for (const { path } of files) {
    const checkpoint = await openCheckpoint(path)
    try {
      for (const [name, { tensor }] of checkpoint.tensors) {
        if (!tensor || tensor.dtype === 'string') continue
        const hash = samples.get(name) ?? createHash('sha256')
        hash.update(await readBytes(tensor, 0, Math.min(SAMPLE_BYTES, tensor.byteLength)))
        samples.set(name, hash)
      }
    } finally {
      await checkpoint.close()
    }
  }
  return new Map([...samples].map(([name, hash]) => [name, hash.digest('hex')]))
}

/** The file that gives what is taken from the last member. Files of one name and number are told apart by their hashes. */
export async function lastFile(seen: readonly Seen[]): Promise<string> {
  const members: (PlannedMember & { readonly path: string })[] = []
  const ranks = seen.flatMap(({ file }) => file.members.map(member => ({ ...member, path: file.path })))
  const top = lastMember(ranks.map(member => ({ ...member, digest: '' })))
  for (const member of ranks) {
    if (member.ordinal === top.ordinal && member.name === top.name) members.push(member)
  }
  if (members.length === 1) return members[0]!.path
  const hashed = []
  for (const member of members) {
    hashed.push({ ...member, digest: member.digest ?? (await fileDigest(member.path)) })
  }
  return lastMember(hashed).path
}
