/** Early stopping: how many validations in a row were no better than the best before them. */

export interface Patience {
  /** Score of the best validation; null before the first. */
  readonly best: number | null
  /** Validations since then. */
  readonly misses: number
}

export const FRESH: Patience = { best: null, misses: 0 }

/** After another validation. */
export function afterValidation({ best, misses }: Patience, score: number): Patience {
  return best === null || score > best ? { best: score, misses: 0 } : { best, misses: misses + 1 }
}

/** What a person is told when the SWA phase is brought forward to a step. */
export function describeEarlyStop(step: number, validations: number, last: number, planned: number): string {
  return `early stop after step ${step}: ${validations} validations without improvement; the SWA phase begins now, and the run ends after step ${last} instead of ${planned}`
}
