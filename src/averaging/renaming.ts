/** How the names of a checkpoint become those of a model: what wraps a module puts its own name before all others. */

import { InputError } from '../util/errors.ts'

/** DataParallel and DistributedDataParallel; torch.compile; training frameworks that hold the net in an attribute. */
const WRAPPERS = ['module.', '_orig_mod.', 'model.', 'net.']
/** A net that is compiled, distributed and held by a framework. */
const DEEPEST = 3

/** A prefix goes and another one comes, the same for all names; both are empty where names are equal. */
export interface Renaming {
  readonly remove: string
  readonly add: string
}

const NONE: Renaming = { remove: '', add: '' }

/** All sequences of wrappers, the empty one first. */
const PREFIXES = Array.from({ length: DEEPEST }).reduce<readonly string[]>(
  found => [...new Set([...found, ...found.flatMap(prefix => WRAPPERS.map(name => prefix + name))])],
  [''],
)

/** A name that does not begin as the others do (a counter of the wrapper's own) stays. */
export function rename(name: string, { remove, add }: Renaming): string {
  return name.startsWith(remove) ? add + name.slice(remove.length) : name
}

/**
 * The only way by which every name of a checkpoint has a place in the model. Names that have their places already stay as
 * they are; so do those for which there is no way, which is for the caller to report.
 *
 * @param source, target what errors call the checkpoint and the model
 */
export function findRenaming(
  names: readonly string[],
  places: { has(name: string): boolean },
  source: string,
  target: string,
): Renaming {
  const fits = (renaming: Renaming) => names.every(name => places.has(rename(name, renaming)))
  if (names.length === 0 || fits(NONE)) return NONE
  const removable = PREFIXES.filter(prefix => names.every(name => name.startsWith(prefix)))
  const ways = removable.flatMap(remove => PREFIXES.map(add => ({ remove, add }))).filter(fits)
  // Removing and adding the same is no way of its own.
  const shortest = ways.filter(({ remove, add }) => !ways.some(other => isInside(other, { remove, add })))
  if (shortest.length > 1) {
    const shown = shortest.map(way => `"${rename(names[0]!, way)}"`).join(', ')
    throw new InputError(
      `average: ${source}: tensor "${names[0]!}" has several places in ${target}: ${shown}`,
      {
        cure: 'rename the tensors of the checkpoint as those of the model',
      },
    )
  }
  return shortest[0] ?? NONE
}

/** Whether one way is another one with the same letters removed and added behind. */
function isInside(short: Renaming, long: Renaming): boolean {
  const tail = long.remove.slice(short.remove.length)
  return tail !== '' && long.remove.startsWith(short.remove) && long.add === short.add + tail
}
