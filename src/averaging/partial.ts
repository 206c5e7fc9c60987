/**
 * A partial average on disk: exact sums that can be added to, merged with others and rounded at the end. It is a
 * safetensors file of
 *
 * - `sum/<tensor>`: float64 [...dims, 2], the canonical pair of each element's sum (expansion.ts);
 * - `tail_index/<tensor>`, `tail_value/<tensor>`: components that pairs cannot hold, by element; only where there are any;
 * - `last/<tensor>`: a tensor that is not averaged, from the member of the greatest ordinal;
 * - metadata `swa_onnx.partial` "2", `.fingerprint`, `.count` (sum of weights), `.members` and `.dtypes` (JSON).
 *
 * The bytes depend on the set of members alone, not on the order or grouping in which they were added.
 */

import { InputError, messageOf } from '../util/errors.ts'
import type { WrittenFile } from '../util/files.ts'
import {
  openSafetensors,
  writeSafetensors,
  type Safetensors,
  type SafetensorsContent,
} from '../serde/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { sortMembers, totalWeight, type MemberRecord } from './members.ts'
import { isAveraged, type AveragedDType } from './rounding.ts'
import type { Tail } from './sum-block.ts'

export const PARTIAL_KEY = 'swa_onnx.partial'
const FORMAT = '2'
const KEYS = {
  count: 'swa_onnx.count',
  fingerprint: 'swa_onnx.fingerprint',
  members: 'swa_onnx.members',
  dtypes: 'swa_onnx.dtypes',
}

/** The sums of one tensor in a partial. */
export interface PartialTensor {
  readonly dtype: AveragedDType
  readonly dims: Shape
  readonly pairs: Tensor
  readonly tail: Tail
}

/** An open partial; the sums are ranges of the file until `close`. */
export interface Partial {
  readonly path: string
  /** Of the graph, or null where the members had none. */
  readonly fingerprint: string | null
  readonly members: readonly MemberRecord[]
  readonly sums: ReadonlyMap<string, PartialTensor>
  readonly last: ReadonlyMap<string, Tensor>
  close(): Promise<void>
}

/** The sums of one tensor to be written; `pairs` makes their bytes. */
export interface SumContent {
  readonly dtype: AveragedDType
  readonly dims: Shape
  readonly pairs: ByteSource
  readonly tail: Tail
}

export interface PartialContent {
  readonly fingerprint: string | null
  readonly members: readonly MemberRecord[]
  readonly sums: Iterable<readonly [string, SumContent]>
  readonly last: ReadonlyMap<string, Tensor>
}

export async function writePartial(path: string, content: PartialContent): Promise<WrittenFile[]> {
  const entries: [string, SafetensorsContent][] = []
  const dtypes: [string, AveragedDType][] = []
  for (const [name, { dtype, dims, pairs, tail }] of content.sums) {
    dtypes.push([name, dtype])
    entries.push([`sum/${name}`, { dtype: 'float64', dims: [...dims, 2], source: pairs }])
    const length = tail.indices.length
    if (length === 0) continue
    entries.push([`tail_index/${name}`, Tensor.of('int64', [length], tail.indices.map(BigInt))])
    entries.push([`tail_value/${name}`, Tensor.of('float64', [length], Float64Array.from(tail.values))])
  }
  for (const [name, tensor] of content.last) entries.push([`last/${name}`, tensor])
  const members = sortMembers(content.members).map(({ name, digest, weight, ordinal }) => ({
    ...{ name, digest, weight, ordinal },
  }))
  const metadata = new Map([
    [PARTIAL_KEY, FORMAT],
    [KEYS.count, String(totalWeight(members))],
    [KEYS.members, JSON.stringify(members)],
    [KEYS.dtypes, JSON.stringify(Object.fromEntries(dtypes.sort(([a], [b]) => (a < b ? -1 : 1))))],
  ])
  if (content.fingerprint !== null) metadata.set(KEYS.fingerprint, content.fingerprint)
  return [await writeSafetensors(path, entries, metadata, { checksum: true })]
}

/** Opens a partial average; every promise of its header is checked. */
export async function openPartial(path: string): Promise<Partial> {
  const file = await openSafetensors(path)
  try {
    return await readPartial(path, file)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The partial in a safetensors file; `isPartial` tells whether there is one. */
export async function readPartial(path: string, file: Safetensors): Promise<Partial> {
  const version = file.metadata.get(PARTIAL_KEY)
  if (version !== FORMAT) {
    throw new InputError(
      `${path}: expected a partial average of format ${FORMAT}, found ${version === undefined ? 'another safetensors file' : `format ${version}`}`,
    )
  }
  const dtypes = readDtypes(path, file)
  const sums = new Map<string, PartialTensor>()
  const last = new Map<string, Tensor>()
  for (const [key, tensor] of file.tensors) {
    const slash = key.indexOf('/')
    const [kind, name] = [key.slice(0, slash), key.slice(slash + 1)]
    if (kind === 'last') last.set(name, tensor)
    else if (kind === 'sum') {
      const dtype = dtypes.get(name)
      const dims = tensor.dims.slice(0, -1)
      if (!dtype || tensor.dtype !== 'float64' || tensor.dims.at(-1) !== 2) {
        throw damaged(
          path,
          `tensor "${key}" ${tensor.dtype}${formatShape(tensor.dims)} is not a sum of pairs`,
        )
      }
      sums.set(name, { dtype, dims, pairs: tensor, tail: await readTail(path, file, name, sizeOf(dims)) })
    } else if (kind !== 'tail_index' && kind !== 'tail_value')
      throw damaged(path, `tensor "${key}" is unknown`)
  }
  const lacking = [...dtypes.keys()].find(name => !sums.has(name))
  if (lacking !== undefined) throw damaged(path, `the sums of tensor "${lacking}" are missing`)
  const fingerprint = file.metadata.get(KEYS.fingerprint) ?? null
  return { path, fingerprint, members: readMembers(path, file), sums, last, close: () => file.close() }
}

export function isPartial({ metadata }: Pick<Safetensors, 'metadata'>): boolean {
  return metadata.has(PARTIAL_KEY)
}

function damaged(path: string, what: string, cause?: unknown): InputError {
  return new InputError(`${path}: damaged partial average: ${what}`, { cause })
}

function readJson(path: string, file: Safetensors, key: string): unknown {
  const text = file.metadata.get(key)
  if (text === undefined) throw damaged(path, `the metadata ${key} is missing`)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw damaged(path, `the metadata ${key}: ${messageOf(error)}`, error)
  }
}

function readDtypes(path: string, file: Safetensors): Map<string, AveragedDType> {
  const json = readJson(path, file, KEYS.dtypes)
  const entries = typeof json === 'object' && json !== null ? Object.entries(json) : []
  return new Map(
    entries.map(([name, dtype]) => {
      if (!isAveraged(dtype as DType)) throw damaged(path, `tensor "${name}" is said to be ${String(dtype)}`)
      return [name, dtype as AveragedDType]
    }),
  )
}

function readMembers(path: string, file: Safetensors): MemberRecord[] {
  const json = readJson(path, file, KEYS.members)
  const seen = new Set<string>()
  if (!Array.isArray(json) || json.length === 0) throw damaged(path, 'it has no members')
  const members = json.map((value: unknown) => {
    const { name, digest, weight, ordinal } = (value ?? {}) as Record<string, unknown>
    const valid =
      typeof name === 'string' &&
      typeof digest === 'string' &&
      /^[0-9a-f]{64}$/.test(digest) &&
      !seen.has(digest) &&
      Number.isSafeInteger(weight) &&
      (weight as number) > 0 &&
      Number.isFinite(ordinal)
    if (!valid) throw damaged(path, `its member ${JSON.stringify(value)} is not valid`)
    seen.add(digest)
    return { name, digest, weight: weight as number, ordinal: ordinal as number }
  })
  const [expected, count] = [String(totalWeight(members)), file.metadata.get(KEYS.count)]
  if (count !== expected) throw damaged(path, `its members count ${expected}, its sums ${count ?? 'nothing'}`)
  return members
}

async function readTail(path: string, file: Safetensors, name: string, size: number): Promise<Tail> {
  const indices = file.tensors.get(`tail_index/${name}`)
  const values = file.tensors.get(`tail_value/${name}`)
  if (!indices && !values) return { indices: [], values: [] }
  const shaped =
    indices?.dtype === 'int64' &&
    values?.dtype === 'float64' &&
    indices.dims.length === 1 &&
    values.dims.length === 1 &&
    indices.size === values.size
  if (!shaped) throw damaged(path, `the tail of tensor "${name}" does not consist of indices and values`)
  const at = Array.from((await indices.load()).view(), Number)
  const ordered = at.every((index, i) => index >= (at[i - 1] ?? 0) && index < size)
  if (!ordered)
    throw damaged(path, `the tail of tensor "${name}" does not point to its ${size} elements in order`)
  return { indices: at, values: (await values.load()).toNumbers() }
}
