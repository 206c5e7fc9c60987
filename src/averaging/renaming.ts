/** How the names of a checkpoint become those of a model: what wraps a module puts its own name before all others. */

import { InputError } from '../util/errors.ts'

/** A prefix goes and another one comes, the same for all names; both are empty where names are equal. */
export interface Renaming {
  readonly remove: string
  readonly add: string
}

const NONE: Renaming = { remove: '', add: '' }
/** So many modules around the tensors are looked at, of names that are longer too. */
const DEEPEST = 16

/** A name that does not begin as the others do (a counter of the wrapper's own) stays. */
export function rename(name: string, { remove, add }: Renaming): string {
  return name.startsWith(remove) ? add + name.slice(remove.length) : name
}

/** A renaming and the names that have places by it. */
interface Way extends Renaming {
  readonly placed: Set<string>
}

/**
 * The one way by which the names of a checkpoint have places in the model: a prefix that all of them have is removed, one
 * is added. A way is taken if every name that has a place by another one has it by this one too, or if any other one places
 * at most half as many names; equal names come first. A prefix is not one of all names if it helps a single one of them.
 * Without a way all stay, which is for the caller to report.
 *
 * @param fits whether a tensor goes with a place; where none does anywhere, names alone count
 * @param source, target what errors call the checkpoint and the model
 */
export function findRenaming(
  names: readonly string[],
  places: readonly string[],
  fits: (name: string, place: string) => boolean,
  source: string,
  target: string,
): Renaming {
  const fitting = waysOf(names, places, fits)
  const ways = fitting.length > 0 ? fitting : waysOf(names, places, () => true)
  const plain = ways.find(isPlain)
  const most = ways.reduce((size, { placed }) => Math.max(size, placed.size), 0)
  const best = plain?.placed.size === most ? plain : ways.find(({ placed }) => placed.size === most)
  if (!best || (most === 1 && names.length > 1)) return NONE
  const rivals = ways.filter(way => way !== best && isRival(way, best))
  if (rivals.length === 0) return { remove: best.remove, add: best.add }
  refuseRivals(best, rivals, source, target)
}

function refuseRivals(best: Way, rivals: readonly Way[], source: string, target: string): never {
  const cure =
    'rename the tensors of the checkpoint as those of the model, or name places with --map NAME=PLACE'
  const name = [...best.placed].find(each => rivals.some(({ placed }) => placed.has(each)))
  if (name === undefined) {
    const [[one], [other]] = [[...best.placed], [...rivals[0]!.placed]]
    throw new InputError(
      `average: ${source}: tensors have places in ${target} by different prefixes: "${one!}" is "${rename(one!, best)}", "${other!}" is "${rename(other!, rivals[0]!)}"`,
      { cure },
    )
  }
  const ways = [best, ...rivals].filter(({ placed }) => placed.has(name)).slice(0, 5)
  const places = ways.map(way => `"${rename(name, way)}"`).join(', ')
  throw new InputError(`average: ${source}: tensor "${name}" has several places in ${target}: ${places}`, {
    cure,
  })
}

/** Whether a way is as good a reading of the names as the best one, or another one for many of them. */
function isRival({ placed }: Way, best: Way): boolean {
  const same = placed.size === best.placed.size && isPlain(best)
  const inside = [...placed].every(name => best.placed.has(name))
  if (inside && (same || placed.size < best.placed.size)) return false
  return placed.size * 2 > best.placed.size
}

function isPlain({ remove, add }: Renaming): boolean {
  return remove === '' && add === ''
}

/** All ways that place a name. One that removes and adds the same module last is that without it, and not listed. */
function waysOf(
  names: readonly string[],
  places: readonly string[],
  fits: (name: string, place: string) => boolean,
): Way[] {
  const ends = new Map<string, string[]>()
  for (const place of places) {
    for (const add of prefixesOf(place)) {
      const end = place.slice(add.length)
      const found = ends.get(end)
      if (found) found.push(add)
      else ends.set(end, [add])
    }
  }
  const ways = new Map<string, Way>()
  for (const remove of prefixesOf(names[0] ?? '').filter(prefix =>
    names.every(name => name.startsWith(prefix)),
  )) {
    for (const name of names) {
      const end = name.slice(remove.length)
      for (const add of ends.get(end) ?? []) {
        if (!fits(name, add + end) || (remove !== '' && lastModule(remove) === lastModule(add))) continue
        const key = JSON.stringify([remove, add])
        const way = ways.get(key) ?? { remove, add, placed: new Set() }
        ways.set(key, way)
        way.placed.add(name)
      }
    }
  }
  return [...ways.values()]
}

/** What may stand before a tensor's own name: nothing, `a.`, `a.b.`, ... */
function prefixesOf(name: string): string[] {
  const prefixes = ['']
  for (let at = name.indexOf('.'); at >= 0 && prefixes.length <= DEEPEST; at = name.indexOf('.', at + 1)) {
    prefixes.push(name.slice(0, at + 1))
  }
  return prefixes
}

function lastModule(prefix: string): string {
  return prefix.slice(prefix.lastIndexOf('.', prefix.length - 2) + 1)
}
