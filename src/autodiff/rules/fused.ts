/** Gradients of the operators that stand for several others: through their definition, which is written once more. */

import { Value } from '../../ir/value.ts'
import { FUSIONS, type NodeForm } from '../../passes/index.ts'
import { invariant } from '../../util/errors.ts'
import { rule, type GradientRule, type RuleTable } from '../rule.ts'

function byDefinition(form: NodeForm): GradientRule {
  return context => {
    const { op, node, grads } = context
    const start = op.nodes.length
    const found = form(op, node, index => Boolean(grads[index]))
    invariant(found, `${node.label} is left as it is by its definition`)
    const outputs = found instanceof Value ? [found] : found
    const seeds = new Map<Value, Value>()
    grads.forEach((dy, i) => {
      const y = outputs[i]
      if (!dy || !y) return
      const known = seeds.get(y)
      seeds.set(y, known ? op.Add(known, dy) : dy)
    })
    const targets = new Set(
      node.inputs.filter((input, i): input is Value => input !== null && context.needs(i)),
    )
    const gradients = context.pullBack(op.nodes.slice(start), seeds, [...targets])
    // An input that is read at several places has one gradient, given at the first of them.
    return node.inputs.map(input => (input && targets.delete(input) ? gradients.get(input)! : null))
  }
}

export const fusedRules: RuleTable = Object.fromEntries(
  Object.entries(FUSIONS).map(([key, [form]]) => [key, rule(byDefinition(form!))]),
)
