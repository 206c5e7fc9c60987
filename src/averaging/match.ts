/** The guard: only checkpoints of one graph have a meaningful mean. */

import { InputError } from '../util/errors.ts'
import type { Fact } from './graph-description.ts'

/** A member's graph, described. */
export interface DescribedFile {
  readonly path: string
  readonly facts: readonly Fact[]
}

/** Throws an InputError that names the first difference between two graphs. */
export function matchGraphs(expected: DescribedFile, found: DescribedFile): void {
  const length = Math.max(expected.facts.length, found.facts.length)
  for (let i = 0; i < length; i++) {
    const a = expected.facts[i]
    const b = found.facts[i]
    if (a && b && a.subject === b.subject && a.text === b.text) continue
    const place = b?.place ?? a!.place
    throw new InputError(
      `average: ${found.path} is not the same graph as ${expected.path}: ${place}: expected ${factText(a, b)}, found ${factText(b, a)}`,
      cureFor(a, b),
    )
  }
}

function factText(fact: Fact | undefined, other: Fact | undefined): string {
  if (!fact) return 'nothing'
  const text = fact.text || 'none'
  // The same thing at another node needs that node's name; another thing needs to be named itself.
  const place = other && fact.place !== other.place ? ` (${fact.place})` : ''
  return `${fact.subject} ${text}${place}`
}

function cureFor(a: Fact | undefined, b: Fact | undefined): { cure?: string } {
  const operators = [a, b].map(fact => (fact?.subject === 'operator' ? fact.text : null))
  if (operators.includes('BatchNormalization')) {
    return {
      cure: 'one of the files was exported with its batch normalization folded into other weights; export all of them alike, with batch normalization kept',
    }
  }
  if (a?.subject === b?.subject && a?.subject.startsWith('version of operator set')) {
    return { cure: 'export all checkpoints with the same exporter and opset' }
  }
  return {
    cure: 'average checkpoints of one training run, exported by the same exporter with the same options',
  }
}
