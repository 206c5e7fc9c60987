/** How far apart rounding alone may put two engines. */

import type { Engine, Precision } from '../runtime/engine.ts'
import type { DType } from '../tensor/dtype.ts'

/** The largest difference, relative as in difference.ts, that is taken for rounding. */
export type Tolerance = (dtype: DType) => number

/**
 * By the arithmetic of matrix products. A float32 rounds to 6e-8; sums of thousands of products in another order, and
 * fifty layers of them, make it some 1e-5: a hundred times that is an error of something else. A tf32 rounds to 4.9e-4,
 * of which 1e-2 is twenty.
 */
const BY_PRECISION: Readonly<Record<Precision, number>> = { float32: 1e-3, tf32: 1e-2, float16: 1e-2 }

/**
 * By the type of the value: half precision rounds it to 4.9e-4 or 3.9e-3 when it is stored, twenty of which are meant
 * here too. An engine that computes a float64 in less is to be found out.
 */
const BY_DTYPE: Partial<Readonly<Record<DType, number>>> = { float16: 1e-2, bfloat16: 8e-2, float64: 1e-9 }

/** The tolerance of a comparison: what was asked for, or the coarser of what engines and type allow. */
export function toleranceFor(engines: readonly Engine[], asked?: number): Tolerance {
  if (asked !== undefined) return () => asked
  const precision = Math.max(...engines.map(engine => BY_PRECISION[engine.precision ?? 'float32']))
  return dtype => (dtype === 'float64' ? BY_DTYPE.float64! : Math.max(precision, BY_DTYPE[dtype] ?? 0))
}
