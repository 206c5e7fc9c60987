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
    throw new InputError(
      `average: ${found.path} is not the same graph as ${expected.path}: ${differenceText(a, b)}`,
      cureFor(a, b),
    )
  }
}

/** `place: subject: expected x, found y`; each fact named in full where they are about different things. */
function differenceText(a: Fact | undefined, b: Fact | undefined): string {
  const text = (fact: Fact) => fact.text || 'none'
  if (a && b && a.subject === b.subject) {
    const elsewhere = a.place === b.place ? '' : ` (${a.place})`
    return `${b.place}: ${b.subject}: expected ${text(a)}${elsewhere}, found ${text(b)}`
  }
  const full = (fact: Fact | undefined) =>
    fact ? `${fact.subject} ${text(fact)} (${fact.place})` : 'nothing'
  return `expected ${full(a)}, found ${full(b)}`
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
