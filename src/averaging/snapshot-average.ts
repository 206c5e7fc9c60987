/** The average of the snapshots of a training run, kept as exact sums in memory. */

import { InputError, UsageError } from '../util/errors.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, sameShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { bytesDigest, memberDigest } from './digest.ts'
import { viewOf, type Elements } from './elements.ts'
import { ExactVector } from './exact-vector.ts'
import { findUnsummable } from './kernels.ts'
import { isLater, refuseTwice, totalWeight, type MemberRecord } from './members.ts'
import { isAveraged, type AveragedDType } from './rounding.ts'

/** A tensor's place in the flat vector of parameters. */
export interface VectorSegment {
  readonly name: string
  readonly shape: Shape
  readonly offset: number
  readonly size: number
}

/** Weights at a moment of training: the flat parameters and the named buffers (running statistics, counters). */
export interface Snapshot {
  readonly theta: Float32Array
  readonly buffers: ReadonlyMap<string, Tensor>
}

export interface RunningAverageOptions {
  /** Must cover the vector. */
  readonly segments: readonly VectorSegment[]
  /** Of the model's graph (fingerprint.ts). */
  readonly fingerprint: string
  /** Tensors that their file holds in a narrower type: their mean is rounded once, to a number of that type. */
  readonly narrow?: ReadonlyMap<string, 'float16' | 'bfloat16'>
}

interface Averaged {
  readonly dtype: AveragedDType
  readonly dims: Shape
  readonly sums: ExactVector
}

/** The average in memory; RunningAverage adds its file. */
export class SnapshotAverage {
  protected readonly options: RunningAverageOptions
  protected readonly averaged = new Map<string, Averaged>()
  protected readonly last = new Map<string, Tensor>()
  protected readonly byHash = new Map<string, MemberRecord>()
  /** The member that `last` comes from. */
  protected newest: MemberRecord | null = null

  constructor(options: RunningAverageOptions) {
    this.options = options
    for (const { name, shape, size } of options.segments) {
      this.averaged.set(name, { dtype: 'float32', dims: shape, sums: new ExactVector(size) })
    }
  }

  /** In the order in which they were added (after `load`: sorted by hash). */
  get members(): MemberRecord[] {
    return [...this.byHash.values()]
  }

  /**
   * Adds a snapshot; nothing is changed if it is refused.
   *
   * @param member its name for people, its ordinal (a step) and, if it is to count more than once, a whole weight
   */
  add(
    snapshot: Snapshot,
    member: { readonly name: string; readonly ordinal: number; readonly weight?: number },
  ): MemberRecord {
    const tensors = this.#tensorsOf(snapshot)
    const digest = memberDigest(
      [...tensors].map(([name, { dtype, dims, data }]) => {
        return { name, dtype, dims, digest: bytesDigest(data as Uint8Array) }
      }),
    )
    const record = { name: member.name, digest, weight: member.weight ?? 1, ordinal: member.ordinal }
    if (!Number.isSafeInteger(record.weight) || record.weight < 1) {
      throw new UsageError(
        `average: snapshot ${record.name}: expected a whole weight, found ${record.weight}`,
      )
    }
    refuseTwice(this.byHash.get(digest)?.name, digest, record.name)
    totalWeight([...this.byHash.values(), record])
    for (const [name, tensor] of tensors) checkFinite(record.name, name, tensor)

    const newest = this.newest === null || isLater(record, this.newest)
    for (const [name, tensor] of tensors) {
      const { dtype, dims } = tensor
      if (isAveraged(dtype)) this.sumsOf(name, dtype, dims).add(dtype, elementsOf(tensor), record.weight)
      else if (newest) this.last.set(name, tensor)
    }
    if (newest) this.newest = record
    this.byHash.set(digest, record)
    return record
  }

  /** The mean of all snapshots, correctly rounded; tensors that are not averaged come from the last one. */
  mean(): Snapshot {
    const total = totalWeight(this.members)
    if (total === 0) throw new UsageError('average: no snapshot was added yet')
    const theta = new Float32Array(this.#length)
    for (const { name, offset, size } of this.options.segments) {
      this.#meanOf(name, 'float32', total, theta.subarray(offset, offset + size))
    }
    const buffers = new Map(this.last)
    const parameters = new Set(this.options.segments.map(segment => segment.name))
    for (const [name, { dtype, dims }] of this.averaged) {
      if (parameters.has(name)) continue
      const tensor = new Tensor(dtype, dims, new Uint8Array((sizeOf(dims) * DTYPES[dtype].bits) / 8))
      this.#meanOf(name, dtype, total, elementsOf(tensor))
      buffers.set(name, tensor)
    }
    return { theta, buffers }
  }

  #meanOf(name: string, dtype: AveragedDType, total: number, out: Elements): void {
    const { sums, dims } = this.averaged.get(name)!
    const narrow = this.options.narrow?.get(name)
    if (narrow === undefined || dtype !== 'float32') {
      sums.mean(dtype, total, out)
      return
    }
    const bits = new Uint16Array(out.length)
    sums.mean(narrow, total, bits)
    Tensor.of(narrow, dims, bits)
      .toNumbers()
      .forEach((value, i) => {
        out[i] = value
      })
  }

  get #length(): number {
    return this.options.segments.reduce((end, { offset, size }) => Math.max(end, offset + size), 0)
  }

  protected sumsOf(name: string, dtype: AveragedDType, dims: Shape): ExactVector {
    const known = this.averaged.get(name)
    if (known) return known.sums
    const sums = new ExactVector(sizeOf(dims))
    this.averaged.set(name, { dtype, dims, sums })
    return sums
  }

  /** A snapshot's tensors by name, checked against those before it. */
  #tensorsOf({ theta, buffers }: Snapshot): Map<string, Tensor> {
    if (theta.length !== this.#length) {
      throw new InputError(`average: expected a vector of ${this.#length} parameters, found ${theta.length}`)
    }
    const tensors = new Map(
      this.options.segments.map(({ name, shape, offset, size }) => [
        name,
        Tensor.of('float32', shape, theta.subarray(offset, offset + size)),
      ]),
    )
    for (const [name, tensor] of buffers) {
      if (tensors.has(name)) throw new InputError(`average: "${name}" is a parameter and a buffer`)
      // A copy: the caller goes on training.
      tensors.set(name, new Tensor(tensor.dtype, tensor.dims, (tensor.data as Uint8Array).slice()))
    }
    if (this.byHash.size === 0) return tensors
    const known = new Map<string, { dtype: string; dims: Shape }>([...this.averaged, ...this.last])
    for (const name of new Set([...known.keys(), ...tensors.keys()])) {
      const [a, b] = [known.get(name), tensors.get(name)]
      if (a && b && a.dtype === b.dtype && sameShape(a.dims, b.dims)) continue
      const text = (t: typeof a) => (t ? `${t.dtype}${formatShape(t.dims)}` : 'nothing')
      throw new InputError(`average: buffer "${name}": expected ${text(a)}, found ${text(b)}`)
    }
    return tensors
  }
}

function elementsOf({ dtype, data }: Tensor): Elements {
  return viewOf(dtype as AveragedDType, data as Uint8Array)
}

function checkFinite(member: string, name: string, tensor: Tensor): void {
  const { dtype } = tensor
  if (!isAveraged(dtype)) return
  const index = findUnsummable(dtype, elementsOf(tensor))
  if (index < 0) return
  throw new InputError(
    `average: snapshot ${member}: tensor "${name}" ${dtype}${formatShape(tensor.dims)}, element ${index}: expected a finite number, found ${tensor.toNumbers()[index]!}`,
    { cure: 'lower the learning rate; snapshots from before this one are kept' },
  )
}
