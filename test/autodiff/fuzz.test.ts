/**
 * Random graphs of supported operators against finite differences: broadcasting, fan-out, shared weights, shapes.
 *
 *     FUZZ_GRAPHS=500 npm test -- fuzz            FUZZ_SEED=1234 npm test -- fuzz      one graph again
 *
 * A graph that fails is cut after fewer operators as long as it still fails, and printed with its seed.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { InputError, messageOf, UnsupportedError } from '../../src/util/errors.ts'
import { Random } from '../../src/util/random.ts'
import { checkGrads } from '../support/check-grads.ts'
import { graphRow, type GraphChoice } from '../support/fuzz/maker.ts'
import { FUZZ_OPERATORS } from '../support/fuzz/operators.ts'

const GRAPHS = Number(process.env['FUZZ_GRAPHS'] ?? 60)
const ONE_SEED = process.env['FUZZ_SEED']
const FIRST_SEED = 20261126

/** Every third graph is in float32, without kinks and with many of the operators that have no float64 kernel. */
function choose(seed: number): GraphChoice {
  const single = seed % 3 === 0
  const fitting = FUZZ_OPERATORS.filter(({ float32, kinks }) => !(single ? kinks : float32))
  const operators = fitting.flatMap(operator =>
    operator.float32 ? [operator, operator, operator] : [operator],
  )
  return { dtype: single ? 'float32' : 'float64', operators, nodes: 5 + Random.of(seed, 1).integer(11) }
}

/** What is wrong with a graph; null if it agrees with finite differences or is refused by name. */
async function problemOf(seed: number, choice: GraphChoice): Promise<string | null> {
  try {
    await checkGrads(graphRow(seed, choice))
    return null
  } catch (error) {
    if (error instanceof UnsupportedError || error instanceof InputError) return null
    return messageOf(error)
  }
}

/** The problem of the shortest beginning of the graph that has one. */
async function smallestProblem(seed: number, choice: GraphChoice): Promise<string | null> {
  let problem = await problemOf(seed, choice)
  for (let nodes = choice.nodes - 1; problem !== null && nodes > 0; nodes--) {
    const smaller = await problemOf(seed, { ...choice, nodes })
    if (smaller === null) break
    problem = smaller
  }
  return problem
}

const seeds = ONE_SEED ? [Number(ONE_SEED)] : Array.from({ length: GRAPHS }, (_, i) => FIRST_SEED + i)

for (const seed of seeds) {
  test(`seed ${seed}`, async () => {
    const problem = await smallestProblem(seed, choose(seed))
    assert.is(problem, null, `FUZZ_SEED=${seed}: ${problem ?? ''}`)
  })
}

test.run()
