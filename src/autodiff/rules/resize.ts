/** Gradient of Resize in every mode: the transposed interpolation matrix along each resized axis. */

import { applyAlongAxes, transposed } from '../../ops/axis-matrix.ts'
import { resizeMatrices } from '../../ops/resize.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'

/** y = (M₀ ⊗ M₁ ⊗ ...) x, so dx = (M₀' ⊗ M₁' ⊗ ...) dy. */
const Resize: GradientRule = context => {
  const { op, node, dy } = context
  const [roi, scales, sizes] = [1, 2, 3].map(index => optional(context, index))
  const matrices = resizeMatrices(node, { roi: roi!, scales: scales!, sizes: sizes! })
  const dx = applyAlongAxes(op, dy, matrices.map(transposed))
  return node.inputs.map((_, i) => (i === 0 ? dx : null))
}

/** The elements of an optional constant input; null where it is absent, or empty as exporters leave it. */
function optional(context: RuleContext, index: number): number[] | null {
  const input = context.inputs[index]
  return !input || input.staticShape?.includes(0) ? null : context.constant(index)
}

export const resizeRules: RuleTable = {
  Resize: rule(Resize),
}
