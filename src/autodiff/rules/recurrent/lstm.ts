/** The cell of an LSTM, backwards. Gates lie in the order i, o, f, c (ONNX: LSTM-22). */

import type { Value } from '../../../ir/value.ts'
import type { CellGradients, Pass } from './pass.ts'

export interface LstmInputs {
  /** [B, H] */
  readonly initialC: Value | null
  /** Pi, Po, Pf as [3·H]; null where there are no peepholes. */
  readonly peephole: Value | null
  /** The gradient of the last cell state, [B, H]. */
  readonly dyc: Value | null
}

/**
 *     i, f = f(x W + h R + b + P · c)    ĉ = g(x W + h R + b)    c' = f · c + i · ĉ
 *     o = f(x W + h R + b + P · c')      h' = o · h(c')
 *
 * where c and h are what the step began with. With the slopes σ of the functions at their pre-activations:
 *
 *     dc' += dh' · (o · σh + h(c') · σo · Po)
 *     da = [dc' · ĉ · σi, dh' · h(c') · σo, dc' · c · σf, dc' · i · σc]
 *     dc = dc' · (f + ĉ · σi · Pi + c · σf · Pf)       dh = da R
 */
export function lstmGradients(pass: Pass, { initialC, peephole, dyc }: LstmInputs): CellGradients {
  const { op } = pass
  const { weights } = pass.inputs
  const sum = op.Gemm(pass.before, weights.r, { transB: true, c: pass.projected() })
  const [ai, ao, af, ac] = pass.gates(weights.rb ? op.Add(sum, weights.rb) : sum) as [
    Value,
    Value,
    Value,
    Value,
  ]
  const peepholes = peephole
    ? (op.Split(peephole, new Array<number>(3).fill(pass.layer.hidden), 0) as [Value, Value, Value])
    : null
  const [pi, po, pf] = peepholes ?? [null, null, null]
  const [f, g, h] = [pass.activation(0), pass.activation(1), pass.activation(2)]
  const candidate = g.value(op, pass.cut(ac))
  const first = initialC ?? pass.zeros()

  // 1. The cell states: step by step, because they are no output of the node.
  const peeped = (a: Value, p: Value | null, c: Value) => (p ? op.Add(a, op.Mul(p, c)) : a)
  const cells = new Array<Value>(pass.layer.steps)
  let c = first
  if (peepholes) {
    const [is, fs, gs] = [ai, af, candidate].map(all => pass.steps(all)) as [Value[], Value[], Value[]]
    const inside = pass.inputs.mask ? pass.steps(pass.inputs.mask) : null
    for (const t of pass.order) {
      const [it, ft] = [
        f.value(op, pass.cut(peeped(is[t]!, pi, c))),
        f.value(op, pass.cut(peeped(fs[t]!, pf, c))),
      ]
      const next = op.Add(op.Mul(ft, c), op.Mul(it, gs[t]!))
      c = inside ? op.Add(c, op.Mul(inside[t]!, op.Sub(next, c))) : next
      cells[t] = c
    }
  } else {
    const added = pass.steps(pass.masked(op.Mul(f.value(op, pass.cut(ai)), candidate)))
    const kept = pass.steps(pass.masked(f.value(op, pass.cut(af)), 1))
    for (const t of pass.order) cells[t] = c = op.Add(op.Mul(kept[t]!, c), added[t]!)
  }
  const after = pass.join(cells)
  const before = pass.shifted(cells, first)

  // 2. Everything that does not depend on gradients, for all steps at once.
  const gate = (a: Value) => {
    const y = f.value(op, pass.cut(a))
    return { y, slope: pass.slope(f, a, y) }
  }
  const input = gate(peeped(ai, pi, before))
  const forget = gate(peeped(af, pf, before))
  const output = gate(peeped(ao, po, after))
  const squashed = h.value(op, after)
  const ki = op.Mul(candidate, input.slope)
  const ko = op.Mul(squashed, output.slope)
  const kf = op.Mul(before, forget.slope)
  const kc = op.Mul(input.y, pass.slope(g, ac, candidate))
  const coefficients = pass.steps(pass.masked(op.Concat([ki, ko, kf, kc], 1)))
  const plusPeeped = (x: Value, k: Value, p: Value | null) => (p ? op.Add(x, op.Mul(k, p)) : x)
  const intoCell = pass.steps(pass.masked(plusPeeped(op.Mul(output.y, h.slope(op, after, squashed)), ko, po)))
  const along = pass.steps(pass.masked(plusPeeped(plusPeeped(forget.y, ki, pi), kf, pf), 1))

  // 3. Back through time.
  const gradients = new Array<Value>(pass.layer.steps)
  let dc = dyc
  const initialH = pass.back((t, dh, add) => {
    const own = op.Mul(dh, intoCell[t]!)
    const whole = dc ? op.Add(dc, own) : own
    gradients[t] = op.Mul(op.Concat([whole, dh, whole, whole], 1), coefficients[t]!)
    dc = op.Mul(whole, along[t]!)
    return pass.product(gradients[t], weights.r, add)
  })
  const all = pass.join(gradients)
  const states = [before, after, before]
  return {
    input: all,
    recurrent: [{ gradient: all, h: pass.before }],
    initialH,
    initialC: dc!,
    ...(peephole
      ? {
          peephole: op.Concat(
            pass
              .gates(all)
              .slice(0, 3)
              .map((da, i) => op.ReduceSum(op.Mul(da, states[i]!), [0], false)),
            0,
          ),
        }
      : {}),
  }
}
