/** Operators of the default domain whose output does not depend smoothly on any input: gradients stop there. */

export const NON_DIFFERENTIABLE: ReadonlySet<string> = new Set([
  // Facts about a tensor, not its values.
  'Shape',
  'Size',
  'ConstantOfShape',
  'EyeLike',
  // Comparisons and logic.
  'And',
  'BitShift',
  'BitwiseAnd',
  'BitwiseNot',
  'BitwiseOr',
  'BitwiseXor',
  'Equal',
  'Greater',
  'GreaterOrEqual',
  'IsInf',
  'IsNaN',
  'Less',
  'LessOrEqual',
  'Not',
  'Or',
  'Xor',
  // Positions.
  'ArgMax',
  'ArgMin',
  'Hardmax',
  'NonMaxSuppression',
  'NonZero',
  'Range',
  // Steps: the derivative is zero almost everywhere.
  'Ceil',
  'Floor',
  'Round',
  'Sign',
  // Sources.
  'Bernoulli',
  'BlackmanWindow',
  'Constant',
  'HammingWindow',
  'HannWindow',
  'Multinomial',
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
])
