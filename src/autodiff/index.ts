/** Reverse-mode differentiation, graph to graph. */

export { differentiate, pullBack, type DifferentiateOptions } from './driver.ts'
export { operatorKey, ruleFor } from './context.ts'
export { NON_DIFFERENTIABLE } from './nondifferentiable.ts'
export { REFUSED } from './refused.ts'
export { RULES } from './rules/index.ts'
export { COMPOSITE_DOMAIN } from './rule.ts'
