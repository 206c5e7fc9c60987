/** Gradients of the operators that stand for several others: through their definition, which is written once more. */

import { FUSIONS, type NodeForm } from '../../passes/index.ts'
import { invariant } from '../../util/errors.ts'
import { rule, type GradientRule, type RuleTable } from '../rule.ts'

function byDefinition(form: NodeForm): GradientRule {
  return context =>
    context.through((op, node) => {
      const found = form(op, node, index => Boolean(context.grads[index]))
      invariant(found, `${node.label} is left as it is by its definition`)
      return found
    })
}

export const fusedRules: RuleTable = Object.fromEntries(
  Object.entries(FUSIONS).map(([key, [form]]) => [key, rule(byDefinition(form!))]),
)
