/** The cell of a plain RNN, backwards. */

import type { Value } from '../../../ir/value.ts'
import type { CellGradients, Pass } from './pass.ts'

/** h' = f(a), a = x W + h R + b: da = dh' · σ(a), dh = da R. */
export function rnnGradients(pass: Pass): CellGradients {
  const { op } = pass
  const { weights, y, mask } = pass.inputs
  const f = pass.activation(0)
  const preActivation = (): Value => {
    const sum = op.Gemm(pass.before, weights.r, { transB: true, c: pass.projected() })
    return weights.rb ? op.Add(sum, weights.rb) : sum
  }
  const a = preActivation()
  // y is the function's value, but for zeros behind the end of a sequence, where the coefficient is zero anyway.
  const value = mask ? f.value(op, pass.cut(a)) : y
  const coefficients = pass.steps(pass.masked(pass.slope(f, a, value)))
  const gradients = new Array<Value>(pass.layer.steps)
  const initialH = pass.back((t, dh, add) => {
    gradients[t] = op.Mul(dh, coefficients[t]!)
    return pass.product(gradients[t], weights.r, add)
  })
  const all = pass.join(gradients)
  return { input: all, recurrent: [{ gradient: all, h: pass.before }], initialH }
}
