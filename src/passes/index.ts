/** Model -> { model, modified }: what is done to an imported model before it is differentiated. */

export {
  countBatchNorms,
  findBatchNorms,
  isBatchNorm,
  isTrainingForm,
  type BatchNormSite,
} from './batch-norms.ts'
export { classifyWeights, type WeightInfo, type WeightPatterns } from './classify-weights.ts'
export { cloneGraph, cloneModel, type ClonedModel } from './clone.ts'
export { removeDeadNodes, removeDeadNodesOf } from './dead-nodes.ts'
export { SHAPE_READERS, variableValues } from './dependence.ts'
export { copyNotes, findEqualCopies, type EqualCopies } from './equal-copies.ts'
export { findHead, type Head, type HeadLayer } from './find-head.ts'
export { findLogits, type Activation, type Logits } from './find-logits.ts'
export { applyObserved, constantValues, type Observations } from './fold-constants.ts'
export { freshNotes } from './fresh-weights.ts'
export { FUSIONS } from './fusions/index.ts'
export { RECURRENT_STEPS } from './fusions/recurrent.ts'
export { redirectReads, removeIdentities } from './identities.ts'
export { toInferenceForm } from './inference-form.ts'
export { inlineBranches } from './inline-branches.ts'
export { inlineFunctions, withoutFunctions } from './inline-functions.ts'
export { joinPads } from './join-pads.ts'
export {
  constantTensor,
  liftConstants,
  modelTensors,
  tensorOf,
  weightOrigins,
  type WeightOrigin,
} from './lift-constants.ts'
export { Names, namesOf } from './names.ts'
export type { Pass, PassResult } from './pass.ts'
export { checkPatterns, matchesPattern } from './patterns.ts'
export { raiseOpset, RAISES } from './raise-opset.ts'
export { refuseQuantized } from './refuse-quantized.ts'
export { reinitHead, type NewHead } from './reinit-head.ts'
export { replaceNodes, type NodeForm, type NodeForms } from './replace-nodes.ts'
export { computedShapes, fixedBatchSize, rebatch } from './rebatch.ts'
export { isSequenceOperator, resolveSequences } from './resolve-sequences.ts'
export { finalUses, type WeightUse } from './weight-uses.ts'
export { setBatchSize } from './set-batch-size.ts'
export { keepsElements, sourceOf } from './sources.ts'
export { otherFloats, toFloat32 } from './to-float32.ts'
export { keptLoop, unrollLoops } from './unroll-loops.ts'
export { verify } from './verify.ts'
export type { WeightRole } from './weight-roles.ts'
