/** Composites to standard operators. */

export { COMPOSITE_LOWERINGS } from './default.ts'
export { lowerComposites, type CompositeLowerings, type Lowering, type LoweringContext } from './lower.ts'
