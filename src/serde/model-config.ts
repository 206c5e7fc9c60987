/**
 * Triton's model configuration (config.pbtxt, text format of the message ModelConfig in model_config.proto). Field numbers
 * do not matter to the text format; fields that nobody reads are there so that they are known.
 */

import protobuf from 'protobufjs/light.js'
import textformat from 'protobufjs/ext/textformat.js'
import { InputError, messageOf } from '../util/errors.ts'

/** A field: its type; `type[]`: repeated; `map<type>`: a map from strings. */
type Fields = Readonly<Record<string, string>>

const MESSAGES: Readonly<Record<string, Fields>> = {
  ModelConfig: {
    name: 'string',
    platform: 'string',
    backend: 'string',
    runtime: 'string',
    version_policy: 'VersionPolicy',
    max_batch_size: 'int32',
    input: 'Input[]',
    output: 'Output[]',
    batch_input: 'BatchInput[]',
    batch_output: 'BatchInput[]',
    optimization: 'Optimization',
    dynamic_batching: 'DynamicBatching',
    sequence_batching: 'Any',
    ensemble_scheduling: 'Ensemble',
    instance_group: 'InstanceGroup[]',
    default_model_filename: 'string',
    cc_model_filenames: 'map<string>',
    metric_tags: 'map<string>',
    parameters: 'map<Parameter>',
    model_warmup: 'Warmup[]',
    model_operations: 'Operations',
    model_transaction_policy: 'TransactionPolicy',
    response_cache: 'Enable',
  },
  Any: {},
  Enable: { enable: 'bool' },
  Parameter: { string_value: 'string' },
  VersionPolicy: { latest: 'Latest', all: 'Any', specific: 'Specific' },
  Latest: { num_versions: 'uint32' },
  Specific: { versions: 'int64[]' },
  Input: {
    name: 'string',
    data_type: 'DataType',
    format: 'Format',
    dims: 'int64[]',
    reshape: 'Reshape',
    is_shape_tensor: 'bool',
    allow_ragged_batch: 'bool',
    optional: 'bool',
    is_non_linear_format_io: 'bool',
  },
  Output: {
    name: 'string',
    data_type: 'DataType',
    dims: 'int64[]',
    reshape: 'Reshape',
    label_filename: 'string',
    is_shape_tensor: 'bool',
    is_non_linear_format_io: 'bool',
  },
  Reshape: { shape: 'int64[]' },
  BatchInput: { kind: 'string', target_name: 'string[]', data_type: 'DataType', source_input: 'string[]' },
  DynamicBatching: {
    preferred_batch_size: 'int32[]',
    max_queue_delay_microseconds: 'uint64',
    preserve_ordering: 'bool',
    priority_levels: 'uint64',
    default_priority_level: 'uint64',
    default_queue_policy: 'QueuePolicy',
  },
  QueuePolicy: {
    timeout_action: 'TimeoutAction',
    default_timeout_microseconds: 'uint64',
    allow_timeout_override: 'bool',
    max_queue_size: 'uint32',
  },
  InstanceGroup: {
    name: 'string',
    kind: 'InstanceKind',
    count: 'int32',
    gpus: 'int32[]',
    passive: 'bool',
    profile: 'string[]',
    host_policy: 'string',
  },
  Optimization: {
    graph: 'GraphLevel',
    priority: 'Priority',
    cuda: 'Cuda',
    execution_accelerators: 'Accelerators',
    input_pinned_memory: 'Enable',
    output_pinned_memory: 'Enable',
    gather_kernel_buffer_threshold: 'uint32',
    eager_batching: 'bool',
  },
  GraphLevel: { level: 'int32' },
  Cuda: { graphs: 'bool', busy_wait_events: 'bool', output_copy_stream: 'bool' },
  Accelerators: { gpu_execution_accelerator: 'Accelerator[]', cpu_execution_accelerator: 'Accelerator[]' },
  Accelerator: { name: 'string', parameters: 'map<string>' },
  Ensemble: { step: 'Step[]' },
  Step: { model_name: 'string', model_version: 'int64', input_map: 'map<string>', output_map: 'map<string>' },
  Warmup: { name: 'string', batch_size: 'uint32', inputs: 'map<WarmupInput>', count: 'uint32' },
  WarmupInput: {
    data_type: 'DataType',
    dims: 'int64[]',
    zero_data: 'bool',
    random_data: 'bool',
    input_data_file: 'string',
  },
  Operations: { op_library_filename: 'string[]' },
  TransactionPolicy: { decoupled: 'bool' },
}

const ENUMS: Readonly<Record<string, readonly string[]>> = {
  DataType: [
    'TYPE_INVALID',
    ...['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'].map(
      t => `TYPE_${t}`,
    ),
    ...['FP16', 'FP32', 'FP64', 'STRING', 'BF16'].map(t => `TYPE_${t}`),
  ],
  Format: ['FORMAT_NONE', 'FORMAT_NHWC', 'FORMAT_NCHW'],
  TimeoutAction: ['REJECT', 'DELAY'],
  InstanceKind: ['KIND_AUTO', 'KIND_GPU', 'KIND_CPU', 'KIND_MODEL'],
  Priority: ['PRIORITY_DEFAULT', 'PRIORITY_MAX', 'PRIORITY_MIN'],
}

/** The part of a configuration that is read; numbers of 64 bits are texts. */
export interface ConfiguredPort {
  readonly name: string
  /** `TYPE_FP32`; TYPE_INVALID: not given. */
  readonly data_type?: string
  /** int64 as texts. */
  readonly dims?: readonly string[]
  readonly reshape?: { readonly shape?: readonly string[] }
}

export interface ModelConfig {
  readonly name?: string
  readonly platform?: string
  readonly backend?: string
  readonly max_batch_size?: number
  readonly version_policy?: {
    readonly latest?: { readonly num_versions?: number }
    readonly all?: object
    readonly specific?: { readonly versions: readonly string[] }
  }
  readonly input?: readonly ConfiguredPort[]
  readonly output?: readonly (ConfiguredPort & { readonly label_filename?: string })[]
  readonly dynamic_batching?: {
    readonly preferred_batch_size?: readonly number[]
    readonly max_queue_delay_microseconds?: string
    readonly default_queue_policy?: {
      readonly default_timeout_microseconds?: string
      readonly max_queue_size?: number
    }
  }
  readonly sequence_batching?: object
  readonly ensemble_scheduling?: object
  readonly instance_group?: readonly { readonly kind?: string; readonly count?: number }[]
}

let type: protobuf.Type | null = null

/** Reads a config.pbtxt; `where` names it in errors. */
export function parseModelConfig(text: string, where: string): ModelConfig {
  type ??= rootOf().lookupType('ModelConfig')
  try {
    const message = textformat.fromText(type, text)
    return type.toObject(message, { longs: String, enums: String })
  } catch (error) {
    throw new InputError(`${where}: ${messageOf(error)}`, { cause: error })
  }
}

function rootOf(): protobuf.Root {
  const messages = Object.entries(MESSAGES).map(([name, fields]): [string, protobuf.IType] => [
    name,
    {
      fields: Object.fromEntries(
        Object.entries(fields).map(([field, type], i) => [field, fieldOf(type, i + 1)]),
      ),
    },
  ])
  const enums = Object.entries(ENUMS).map(([name, values]): [string, protobuf.IEnum] => [
    name,
    { values: Object.fromEntries(values.map((value, i) => [value, i])) },
  ])
  return protobuf.Root.fromJSON({
    nested: Object.fromEntries<protobuf.AnyNestedObject>([...messages, ...enums]),
  })
}

function fieldOf(text: string, id: number): protobuf.IField & { keyType?: string } {
  const map = /^map<(\w+)>$/.exec(text)?.[1]
  if (map !== undefined) return { keyType: 'string', type: map, id }
  const repeated = /^(\w+)\[\]$/.exec(text)?.[1]
  return repeated === undefined ? { type: text, id } : { rule: 'repeated', type: repeated, id }
}
