/** The average that training keeps: snapshots are added as they are taken, and its state is a mergeable partial average. */

import { InputError, UsageError } from '../util/errors.ts'
import { formatShape, sameShape } from '../tensor/shape.ts'
import { lastMember, totalWeight } from './members.ts'
import { openPartial, writePartial, type Partial } from './partial.ts'
import { SnapshotAverage, type RunningAverageOptions } from './snapshot-average.ts'

export type { RunningAverageOptions, Snapshot, VectorSegment } from './snapshot-average.ts'

export class RunningAverage extends SnapshotAverage {
  /** Writes the state, a partial average, atomically. */
  async save(path: string): Promise<void> {
    totalWeight(this.members)
    if (this.byHash.size === 0) throw new UsageError('average: no snapshot was added yet')
    await writePartial(path, {
      fingerprint: this.options.fingerprint,
      members: this.members,
      sums: [...this.averaged].map(([name, { dtype, dims, sums }]) => [
        name,
        { dtype, dims, pairs: sums.source(`sums of tensor "${name}"`), tail: sums.tail() },
      ]),
      last: this.last,
    })
  }

  /** Takes up a saved state. */
  static async load(path: string, options: RunningAverageOptions): Promise<RunningAverage> {
    const average = new RunningAverage(options)
    const partial = await openPartial(path)
    try {
      await average.#take(partial)
    } finally {
      await partial.close()
    }
    return average
  }

  async #take(partial: Partial): Promise<void> {
    const { path, fingerprint, members, sums, last } = partial
    if (fingerprint !== this.options.fingerprint) {
      throw new InputError(
        `${path}: the partial average is of another graph: expected fingerprint ${this.options.fingerprint}, found ${fingerprint ?? 'none'}`,
      )
    }
    for (const { name, shape } of this.options.segments) {
      const found = sums.get(name)
      if (found?.dtype === 'float32' && sameShape(found.dims, shape)) continue
      const text = found ? `${found.dtype}${formatShape(found.dims)}` : 'nothing'
      throw new InputError(
        `${path}: parameter "${name}": expected float32${formatShape(shape)}, found ${text}`,
      )
    }
    for (const [name, { dtype, dims, pairs, tail }] of sums) {
      await this.sumsOf(name, dtype, dims).addSums(pairs, tail)
    }
    for (const [name, tensor] of last) this.last.set(name, await tensor.load())
    for (const member of members) this.byHash.set(member.digest, member)
    this.newest = lastMember(members)
  }
}
