/** What the scanner must know about the messages of ONNX: which fields are messages, lists of numbers, or weights. */

export type MessageKind =
  | 'ModelProto'
  | 'TrainingInfoProto'
  | 'GraphProto'
  | 'NodeProto'
  | 'AttributeProto'
  | 'FunctionProto'
  | 'TensorProto'
  | 'SparseTensorProto'
  | 'ValueInfoProto'
  | 'TypeProto'
  | 'TypeProto.Tensor'
  | 'TypeProto.Element'
  | 'TypeProto.Map'
  | 'TensorShapeProto'
  | 'TensorAnnotation'
  | 'NodeDeviceConfigurationProto'
  | 'ShardingSpecProto'
  | 'ShardedDimProto'
  | 'IntIntListEntryProto'
  | 'Leaf'

interface MessageSchema {
  /** Field number -> the message it holds. `Leaf` messages hold none that matter. */
  readonly messages: Readonly<Record<number, MessageKind>>
  /** Fields that may occur once and that hold tensors: were they merged, as protobuf does, no tensor had one place. */
  readonly single?: readonly number[]
  /** Lists of numbers, which writers may pack into one field. */
  readonly numbers?: readonly number[]
}

/** `TypeProto.Tensor` stands for SparseTensor too, `TypeProto.Element` for Sequence and Optional. */
export const SCHEMA: Readonly<Record<MessageKind, MessageSchema>> = {
  ModelProto: {
    messages: {
      7: 'GraphProto',
      8: 'Leaf',
      14: 'Leaf',
      20: 'TrainingInfoProto',
      25: 'FunctionProto',
      26: 'Leaf',
    },
    single: [7],
  },
  TrainingInfoProto: { messages: { 1: 'GraphProto', 2: 'GraphProto', 3: 'Leaf', 4: 'Leaf' }, single: [1, 2] },
  GraphProto: {
    messages: {
      1: 'NodeProto',
      5: 'TensorProto',
      11: 'ValueInfoProto',
      12: 'ValueInfoProto',
      13: 'ValueInfoProto',
      14: 'TensorAnnotation',
      15: 'SparseTensorProto',
      16: 'Leaf',
    },
  },
  NodeProto: { messages: { 5: 'AttributeProto', 9: 'Leaf', 10: 'NodeDeviceConfigurationProto' } },
  AttributeProto: {
    messages: {
      5: 'TensorProto',
      6: 'GraphProto',
      10: 'TensorProto',
      11: 'GraphProto',
      14: 'TypeProto',
      15: 'TypeProto',
      22: 'SparseTensorProto',
      23: 'SparseTensorProto',
    },
    single: [5, 6, 22],
    numbers: [7, 8],
  },
  FunctionProto: {
    messages: { 7: 'NodeProto', 9: 'Leaf', 11: 'AttributeProto', 12: 'ValueInfoProto', 14: 'Leaf' },
  },
  TensorProto: { messages: { 3: 'Leaf', 13: 'Leaf', 16: 'Leaf' }, numbers: [1] },
  SparseTensorProto: { messages: { 1: 'TensorProto', 2: 'TensorProto' }, single: [1, 2], numbers: [3] },
  ValueInfoProto: { messages: { 2: 'TypeProto', 4: 'Leaf' } },
  TypeProto: {
    messages: {
      1: 'TypeProto.Tensor',
      4: 'TypeProto.Element',
      5: 'TypeProto.Map',
      7: 'Leaf',
      8: 'TypeProto.Tensor',
      9: 'TypeProto.Element',
    },
  },
  'TypeProto.Tensor': { messages: { 2: 'TensorShapeProto' } },
  'TypeProto.Element': { messages: { 1: 'TypeProto' } },
  'TypeProto.Map': { messages: { 2: 'TypeProto' } },
  TensorShapeProto: { messages: { 1: 'Leaf' } },
  TensorAnnotation: { messages: { 2: 'Leaf' } },
  NodeDeviceConfigurationProto: { messages: { 2: 'ShardingSpecProto' } },
  ShardingSpecProto: { messages: { 3: 'IntIntListEntryProto', 4: 'ShardedDimProto' }, numbers: [2] },
  ShardedDimProto: { messages: { 2: 'Leaf' } },
  IntIntListEntryProto: { messages: {}, numbers: [2] },
  Leaf: { messages: {} },
}

/** Fields of ModelProto and TensorProto that are read or rewritten by place. */
export const METADATA_FIELD = 14
export const EXTERNAL_DATA_FIELD = 13
export const DATA_LOCATION_FIELD = 14
export const RAW_DATA_FIELD = 9

/** The fields of TensorProto that hold elements; strings are not among them, they stay in the outline. */
export const PAYLOAD_FIELDS: Readonly<Record<number, string>> = {
  4: 'float_data',
  5: 'int32_data',
  7: 'int64_data',
  9: 'raw_data',
  10: 'double_data',
  11: 'uint64_data',
}

/**
 * In outlines each TensorProto has this field: the index of its elements in a table beside the outline. The number is
 * from the range that protobuf reserves for its implementation, so that no file may use it.
 */
export const MARKER_FIELD = 19000
