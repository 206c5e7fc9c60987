/** Entities in token labels `B-PER I-PER O ...` (CoNLL 2003 and its kin), counted as the seqeval package does by default. */

import type { ClassFamily, Figures } from './family.ts'

interface Tag {
  /** B, I, E, S or O. */
  readonly prefix: string
  readonly type: string
}

const OUTSIDE: Tag = { prefix: 'O', type: '' }

/** Whether class names are entity tags. */
export function areEntityTags(names: readonly string[]): boolean {
  return names.includes('O') && names.some(name => name.startsWith('B-') || name.startsWith('I-'))
}

/** `B-PER` -> B, PER. */
function parseTag(name: string): Tag {
  const [, prefix, type] = /^([BIES])-(.+)$/.exec(name) ?? []
  return prefix === undefined ? OUTSIDE : { prefix, type: type! }
}

/** An entity ends between two tags. */
function endsBetween(before: Tag, after: Tag): boolean {
  if (before.prefix === 'O') return false
  if (before.prefix === 'E' || before.prefix === 'S') return true
  return ['B', 'S', 'O'].includes(after.prefix) || before.type !== after.type
}

/** An entity begins with `after`: an I or E that continues nothing begins one too. */
function beginsBetween(before: Tag, after: Tag): boolean {
  if (after.prefix === 'O') return false
  if (after.prefix === 'B' || after.prefix === 'S') return true
  return ['E', 'S', 'O'].includes(before.prefix) || before.type !== after.type
}

/** `type:first:last` of each entity. */
export function entitiesOf(tags: readonly Tag[]): Set<string> {
  const found = new Set<string>()
  let start = 0
  for (let i = 0; i <= tags.length; i++) {
    const [before, after] = [tags[i - 1] ?? OUTSIDE, tags[i] ?? OUTSIDE]
    if (endsBetween(before, after)) found.add(`${before.type}:${start}:${i - 1}`)
    if (beginsBetween(before, after)) start = i
  }
  return found
}

/** F1 of whole entities, of all types together: one counts where type, first and last token are right. */
export function entities(names: readonly string[]): ClassFamily {
  const tags = names.map(parseTag)
  let wanted: Tag[] = []
  let given: Tag[] = []
  let [right, sum] = [0, 0]
  return {
    add: ({ label, predicted }) => {
      wanted.push(tags[label] ?? OUTSIDE)
      given.push(tags[predicted] ?? OUTSIDE)
    },
    endSample: () => {
      const [expected, found] = [entitiesOf(wanted), entitiesOf(given)]
      for (const entity of expected) right += Number(found.has(entity))
      sum += expected.size + found.size
      wanted = []
      given = []
    },
    figures: (): Figures => ({ entityF1: sum === 0 ? 0 : (2 * right) / sum }),
  }
}
