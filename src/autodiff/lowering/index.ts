/** Composites to standard operators. */

export { COMPOSITE_LOWERINGS } from './default.ts'
export { inFloat32 } from './precision.ts'
export { lowerComposites, type CompositeLowerings, type Lowering, type LoweringContext } from './lower.ts'
