/** Gradients of operators that read between the elements of an image, or put an image together. */

import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { expanded, rule, type GradientRule, type RuleTable } from '../rule.ts'

/** By the features alone: regions are given, as torchvision's roi_align has it. */
const RoiAlign: GradientRule = context => [context.through(EXPANSIONS.RoiAlign)[0]!, null, null]

export const samplingRules: RuleTable = {
  AffineGrid: expanded(EXPANSIONS.AffineGrid),
  Col2Im: expanded(EXPANSIONS.Col2Im),
  DeformConv: expanded(EXPANSIONS.DeformConv),
  GridSample: expanded(EXPANSIONS.GridSample),
  RoiAlign: rule(RoiAlign),
}
