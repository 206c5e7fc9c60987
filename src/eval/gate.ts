/** The gate: an average that is worse than its best member is not delivered. */

import { CheckError } from '../util/errors.ts'
import type { EvaluatedModel, EvaluationReport } from './compare.ts'
import { describeMetrics, scoreOf } from './score.ts'

/** The average, the last of the models, must not be worse than the best member. */
export function checkGate({ models, data }: EvaluationReport, out: string): void {
  const average = models.at(-1)!
  const members = models.slice(0, -1)
  const better = (a: EvaluatedModel, b: EvaluatedModel) => (scoreOf(b.metrics) > scoreOf(a.metrics) ? b : a)
  if (members.length === 0) return
  const best = members.reduce(better)
  if (scoreOf(average.metrics) >= scoreOf(best.metrics)) return
  throw new CheckError(
    `average: on ${data.name} the average is worse than ${best.model}: expected ${describeMetrics(best.metrics)} or better, found ${describeMetrics(average.metrics)}; ${out} was not written`,
    {
      cure: 'average only members that are good together (--soup), recalibrate batch norms (--data), or leave --gate out',
    },
  )
}
