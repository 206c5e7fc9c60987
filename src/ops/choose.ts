/** Attributes that name one of several ways. */

import type { Node } from '../ir/node.ts'
import { UnsupportedError } from '../util/errors.ts'

/** The entry of a table that a text attribute names; an error with the names that are known otherwise. */
export function choose<T>(
  node: Node,
  attribute: string,
  fallback: string,
  table: Readonly<Record<string, T>>,
): T {
  const name = node.string(attribute, fallback)
  const found = table[name]
  if (found) return found
  const known = Object.keys(table).join(', ')
  throw new UnsupportedError(`${node.label}: attribute ${attribute} should be one of ${known}, found ${name}`)
}
