/** Weights of a new head under patterns: one that is meant for the whole model does not freeze what has learned nothing. */

import { matchesPattern } from './patterns.ts'

/**
 * Whether a pattern that matches a weight holds for it. For a fresh weight it does if it matches fresh weights alone, and
 * so was written for them: `fc.*`, but not `*` or `*.bias`.
 *
 * @param names of all weights
 * @param fresh names of those that a new head brought
 */
export function holdsFor(
  pattern: string,
  name: string,
  names: readonly string[],
  fresh: readonly string[],
): boolean {
  if (!fresh.includes(name)) return true
  return names.every(other => fresh.includes(other) || !matchesPattern(pattern, other))
}

/** What a person should know about patterns that keep weights from being trained, and a new head. */
export function freshNotes(
  option: string,
  patterns: readonly string[],
  names: readonly string[],
  fresh: readonly string[],
): string[] {
  return patterns.flatMap(pattern => {
    const matched = fresh.filter(name => matchesPattern(pattern, name))
    if (matched.length === 0) return []
    const list = matched.map(name => `"${name}"`).join(', ')
    return holdsFor(pattern, matched[0]!, names, fresh)
      ? [`${option} "${pattern}" keeps the new head as it was drawn: ${list}`]
      : [
          `the new head trains although ${option} "${pattern}" matches ${list}; a pattern for it alone keeps it`,
        ]
  })
}
