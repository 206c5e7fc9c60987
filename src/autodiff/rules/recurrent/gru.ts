/** The cell of a GRU, backwards. Gates lie in the order z, r, h (ONNX: GRU-22). */

import type { Value } from '../../../ir/value.ts'
import type { CellGradients, Pass } from './pass.ts'

/**
 *     z, r = f(x W + h R + b)      h' = (1 − z) · ĥ + z · h
 *     ĥ = g(x W + Wb + r · (h R + Rb))      where linear_before_reset is set, as PyTorch has it
 *     ĥ = g(x W + Wb + (r · h) R + Rb)      where it is not
 *
 * where h is what the step began with. With the slopes σ of the functions at their pre-activations:
 *
 *     dz = dh' · (h − ĥ) · σz      dĥ = dh' · (1 − z) · σh
 */
export function gruGradients(pass: Pass, linearBeforeReset: boolean): CellGradients {
  return linearBeforeReset ? resetAfter(pass) : resetBefore(pass)
}

interface Gates {
  readonly z: Value
  readonly r: Value
  readonly slopeZ: Value
  readonly slopeR: Value
}

function gatesOf(pass: Pass, az: Value, ar: Value): Gates {
  const { op } = pass
  const f = pass.activation(0)
  const [z, r] = [az, ar].map(a => f.value(op, pass.cut(a))) as [Value, Value]
  return { z, r, slopeZ: pass.slope(f, az, z), slopeR: pass.slope(f, ar, r) }
}

/** The shares of dh' in z and ĥ. */
function shares(pass: Pass, { z, slopeZ }: Gates, ah: Value): { kz: Value; kh: Value; carried: Value } {
  const { op } = pass
  const g = pass.activation(1)
  const candidate = g.value(op, pass.cut(ah))
  return {
    kz: op.Mul(op.Sub(pass.before, candidate), slopeZ),
    kh: op.Mul(op.Sub(op.scalarLike(z, 1), z), pass.slope(g, ah, candidate)),
    carried: pass.masked(z),
  }
}

const plus = (pass: Pass, a: Value, b: Value | null) => (b ? pass.op.Add(a, b) : a)

/** dr = dĥ · (h R + Rb) · σr, and dĥ · r goes into the product: [dz, dr, dĥ · r] R + dh' · z is the gradient of h. */
function resetAfter(pass: Pass): CellGradients {
  const { op } = pass
  const { weights } = pass.inputs
  const [xz, xr, xh] = pass.gates(pass.projected()) as [Value, Value, Value]
  const product = op.Gemm(pass.before, weights.r, { transB: true, ...(weights.rb ? { c: weights.rb } : {}) })
  const [hz, hr, hh] = pass.gates(product) as [Value, Value, Value]
  const gates = gatesOf(pass, op.Add(xz, hz), op.Add(xr, hr))
  const { kz, kh, carried } = shares(pass, gates, op.Add(xh, op.Mul(gates.r, hh)))
  const kr = op.Mul(op.Mul(kh, hh), gates.slopeR)
  const coefficients = pass.steps(pass.masked(op.Concat([kz, kr, op.Mul(kh, gates.r)], 1)))
  const along = pass.steps(carried)

  const [hidden, gradients] = [new Array<Value>(along.length), new Array<Value>(along.length)]
  const initialH = pass.back((t, dh, add) => {
    hidden[t] = dh
    gradients[t] = op.Mul(op.Concat([dh, dh, dh], 1), coefficients[t]!)
    return pass.product(gradients[t], weights.r, plus(pass, op.Mul(dh, along[t]!), add))
  })
  const all = pass.join(gradients)
  const candidate = op.Mul(pass.join(hidden), pass.masked(kh))
  const [dz, dr] = pass.gates(all) as [Value, Value]
  return {
    input: op.Concat([dz, dr, candidate], 1),
    recurrent: [{ gradient: all, h: pass.before }],
    initialH,
  }
}

/** With u = dĥ R of the rows of ĥ: dr = u · h · σr, and [dz, dr] R + dh' · z + u · r is the gradient of h. */
function resetBefore(pass: Pass): CellGradients {
  const { op } = pass
  const { weights } = pass.inputs
  const { hidden } = pass.layer
  const [ra, rh] = op.Split(weights.r, [2 * hidden, hidden], 0) as [Value, Value]
  const [xz, xr, xh] = pass.gates(weights.rb ? op.Add(pass.projected(), weights.rb) : pass.projected()) as [
    Value,
    Value,
    Value,
  ]
  const [hz, hr] = pass.gates(op.Gemm(pass.before, ra, { transB: true })) as [Value, Value]
  const gates = gatesOf(pass, op.Add(xz, hz), op.Add(xr, hr))
  const reset = op.Mul(gates.r, pass.before)
  const { kz, kh, carried } = shares(pass, gates, op.Gemm(reset, rh, { transB: true, c: xh }))
  const kr = op.Mul(pass.before, gates.slopeR)
  const coefficients = pass.steps(pass.masked(op.Concat([kz, kr], 1)))
  const candidates = pass.steps(pass.masked(kh))
  const [along, resets] = [pass.steps(carried), pass.steps(gates.r)]

  const [inner, gradients] = [new Array<Value>(along.length), new Array<Value>(along.length)]
  const initialH = pass.back((t, dh, add) => {
    inner[t] = op.Mul(dh, candidates[t]!)
    const u = op.Gemm(inner[t], rh)
    gradients[t] = op.Mul(op.Concat([dh, u], 1), coefficients[t]!)
    const kept = op.Add(op.Mul(dh, along[t]!), op.Mul(u, resets[t]!))
    return pass.product(gradients[t], ra, plus(pass, kept, add))
  })
  const [all, candidate] = [pass.join(gradients), pass.join(inner)]
  return {
    input: op.Concat([all, candidate], 1),
    recurrent: [
      { gradient: all, h: pass.before },
      { gradient: candidate, h: reset },
    ],
    initialH,
  }
}
