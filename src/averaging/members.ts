/** The record of what went into an average: who, how often, and never twice. */

import { basename } from 'node:path'
import { InputError, UsageError } from '../util/errors.ts'
import { MAX_TOTAL_WEIGHT } from './rounding.ts'

/** One checkpoint in an average. */
export interface MemberRecord {
  /** A file name or a step; for people. */
  readonly name: string
  /** The hash of its weights (digest.ts). */
  readonly digest: string
  /** How often it counts; 1 in a plain mean. */
  readonly weight: number
  /** Its step in the run, or the number in its file name; the greatest one gives tensors of policy `last`. */
  readonly ordinal: number
}

/** A member before it is read: its hash comes with reading, but for those in partial averages. */
export type PlannedMember = Omit<MemberRecord, 'digest'> & { readonly digest: string | null }

/** Members sorted by hash, those without one by number and name: the same set gives the same list in any order. */
export function sortMembers<Member extends Omit<MemberRecord, 'digest'> & { readonly digest?: string }>(
  members: readonly Member[],
): Member[] {
  const key = ({ digest, name }: Member) => digest ?? name
  return [...members].sort(
    (a, b) =>
      (a.digest === undefined ? a.ordinal - b.ordinal : 0) ||
      (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0),
  )
}

/** The ordinal of a file: the last number in its name (`epoch-7.onnx`), which no order of listing changes; 0 without one. */
export function ordinalOf(path: string): number {
  const stem = basename(path).replace(/\.\w+$/, '')
  return Number(/(\d{1,15})\D*$/.exec(stem)?.[1] ?? 0)
}

/** Whether a member comes after another one: by ordinal, then by name, then by hash. */
export function isLater(a: MemberRecord, b: MemberRecord): boolean {
  if (a.ordinal !== b.ordinal) return a.ordinal > b.ordinal
  return a.name === b.name ? a.digest > b.digest : a.name > b.name
}

/** The member that gives tensors of policy `last`. */
export function lastMember<Member extends MemberRecord>(members: readonly Member[]): Member {
  if (members.length === 0) throw new UsageError('average: it has no members')
  return members.reduce((last, member) => (isLater(member, last) ? member : last))
}

export function totalWeight(members: readonly Pick<MemberRecord, 'weight'>[]): number {
  const total = members.reduce((sum, member) => sum + member.weight, 0)
  if (total > MAX_TOTAL_WEIGHT) {
    throw new UsageError(`average: the weights of all members sum up to ${total}, expected at most 2^28`)
  }
  return total
}

/** Refuses a checkpoint that would count twice; `other` is the one with the same hash, if there is one. */
export function refuseTwice(other: string | undefined, digest: string, where: string): void {
  if (other === undefined) return
  throw new InputError(
    `average: ${where} has the same weights as ${other} (digest ${digest.slice(0, 12)}...)`,
    {
      cure: 'leave one of them out, or give it a greater weight if it is to count more than once',
    },
  )
}
