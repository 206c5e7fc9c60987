/** Operators whose gradient is refused for a reason that a person can act on: what the error says in place of "no rule". */

const LAYOUT = 'computes in the layout of one processor; optimise the model without layout optimisation'
const QUANTIZED = 'is quantized; train the float model and quantize it afterwards'
const SEQUENCES = 'works on sequences of tensors'
const GRAPHS = 'runs a sub-graph that does not unroll at import'

/** Operator, with its domain unless it is the default one -> why, as the rest of a sentence that begins with the node. */
export const REFUSED: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['NhwcConv', 'NhwcFusedConv', 'NhwcMaxPool'].map(name => [`com.microsoft.${name}`, LAYOUT]),
  ),
  ...Object.fromEntries(
    [
      'Conv',
      'MaxPool',
      'AveragePool',
      'GlobalMaxPool',
      'GlobalAveragePool',
      'Upsample',
      'ReorderInput',
      'ReorderOutput',
    ].map(name => [`com.microsoft.nchwc.${name}`, LAYOUT]),
  ),
  ...Object.fromEntries(
    [
      'QAttention',
      'QEmbedLayerNormalization',
      'QGemm',
      'MatMulNBits',
      'DynamicQuantizeMatMul',
      'QLinearAdd',
    ].map(name => [`com.microsoft.${name}`, QUANTIZED]),
  ),
  ...Object.fromEntries(
    [
      ...['ConvInteger', 'DequantizeLinear', 'DynamicQuantizeLinear', 'MatMulInteger'],
      ...['QLinearConv', 'QLinearMatMul', 'QuantizeLinear'],
    ].map(name => [name, QUANTIZED]),
  ),
  ...Object.fromEntries(
    [
      ...['ConcatFromSequence', 'SequenceAt', 'SequenceConstruct', 'SequenceEmpty', 'SequenceErase'],
      ...[
        'SequenceInsert',
        'SequenceLength',
        'SplitToSequence',
        'Optional',
        'OptionalGetElement',
        'OptionalHasElement',
      ],
    ].map(name => [name, SEQUENCES]),
  ),
  ...Object.fromEntries(['Loop', 'Scan'].map(name => [name, GRAPHS])),
  If: 'has a condition that depends on the data',
}
