/** The record of what went into an average: who, how often, and never twice. */

import { basename } from 'node:path'
import { InputError, UsageError } from '../util/errors.ts'
import { MAX_TOTAL_WEIGHT } from './rounding.ts'

/** One checkpoint in an average. */
export interface MemberRecord {
  /** A file name or a step; for people. */
  readonly name: string
  /** The hash of its weights (digest.ts). */
  readonly sha256: string
  /** How often it counts; 1 in a plain mean. */
  readonly weight: number
  /** Its step in the run, or the number in its file name; the greatest one gives tensors of policy `last`. */
  readonly ordinal: number
}

/** Members sorted by hash: the same set gives the same record, whatever the order of merging. */
export function sortMembers(members: readonly MemberRecord[]): MemberRecord[] {
  return [...members].sort((a, b) => (a.sha256 < b.sha256 ? -1 : a.sha256 > b.sha256 ? 1 : 0))
}

/** The ordinal of a file: the last number in its name (`epoch-7.onnx`), which no order of listing changes; 0 without one. */
export function ordinalOf(path: string): number {
  const stem = basename(path).replace(/\.\w+$/, '')
  return Number(/(\d{1,15})\D*$/.exec(stem)?.[1] ?? 0)
}

/** The member that gives tensors of policy `last`; equal ordinals are told apart by name, then by hash. */
export function lastMember(members: readonly MemberRecord[]): MemberRecord {
  const [first, ...rest] = sortMembers(members)
  if (!first) throw new UsageError('average: it has no members')
  const later = (a: MemberRecord, b: MemberRecord) =>
    a.ordinal === b.ordinal ? a.name >= b.name : a.ordinal > b.ordinal
  return rest.reduce((last, member) => (later(member, last) ? member : last), first)
}

export function totalWeight(members: readonly MemberRecord[]): number {
  const total = members.reduce((sum, member) => sum + member.weight, 0)
  if (total > MAX_TOTAL_WEIGHT) {
    throw new UsageError(`average: the weights of all members sum up to ${total}, expected at most 2^28`)
  }
  return total
}

/** Refuses a checkpoint that would count twice. */
export function refuseTwice(
  known: ReadonlyMap<string, string>,
  { sha256 }: MemberRecord,
  where: string,
): void {
  const other = known.get(sha256)
  if (other === undefined) return
  throw new InputError(
    `average: ${where} has the same weights as ${other} (sha256 ${sha256.slice(0, 12)}...)`,
    {
      cure: 'leave one of them out, or give it a greater weight if it is to count more than once',
    },
  )
}
