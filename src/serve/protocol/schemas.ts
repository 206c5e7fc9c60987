/** The messages of the Open Inference Protocol v2 and its extensions as JSON Schemas: they check, type and document. */

import { Type, type Static } from 'typebox'
import { DATATYPE_NAMES, type Datatype } from './datatypes.ts'

/** A parameter of a request, an input or an output. */
export const Parameter = Type.Union([Type.String(), Type.Number(), Type.Boolean()])
export const Parameters = Type.Record(Type.String(), Parameter, {
  description:
    'Named values of the protocol extensions, such as binary_data_size, binary_data, classification.',
})
export type Parameters = Readonly<Record<string, string | number | boolean>>

const DatatypeName = Type.Unsafe<Datatype>({ type: 'string', enum: DATATYPE_NAMES })
const Dim = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

export const RequestInput = Type.Object({
  name: Type.String(),
  shape: Type.Array(Dim, { description: 'Elements in each dimension.' }),
  datatype: DatatypeName,
  parameters: Type.Optional(Parameters),
  data: Type.Optional(
    Type.Unknown({ description: 'Elements, flat in row-major order or nested as the shape says.' }),
  ),
})
export type RequestInput = Static<typeof RequestInput>

export const RequestOutput = Type.Object({ name: Type.String(), parameters: Type.Optional(Parameters) })

export const InferenceRequest = Type.Object(
  {
    id: Type.Optional(Type.String({ maxLength: 1024 })),
    parameters: Type.Optional(Parameters),
    inputs: Type.Array(RequestInput),
    outputs: Type.Optional(Type.Array(RequestOutput)),
  },
  { $id: 'inference_request' },
)
export type InferenceRequest = Static<typeof InferenceRequest>

export const ResponseOutput = Type.Object({
  name: Type.String(),
  datatype: DatatypeName,
  shape: Type.Array(Type.Integer()),
  parameters: Type.Optional(Parameters),
  data: Type.Optional(Type.Array(Type.Unknown())),
})
export type ResponseOutput = Static<typeof ResponseOutput>

export const InferenceResponse = Type.Object(
  {
    model_name: Type.String(),
    model_version: Type.Optional(Type.String()),
    id: Type.Optional(Type.String()),
    parameters: Type.Optional(Parameters),
    outputs: Type.Array(ResponseOutput),
  },
  { $id: 'inference_response' },
)
export type InferenceResponse = Static<typeof InferenceResponse>

export const ErrorResponse = Type.Object({ error: Type.String() }, { $id: 'error_response' })

export const ServerLive = Type.Object({ live: Type.Boolean() }, { $id: 'server_live' })
export const ServerReady = Type.Object({ ready: Type.Boolean() }, { $id: 'server_ready' })

export const ServerMetadata = Type.Object(
  { name: Type.String(), version: Type.String(), extensions: Type.Array(Type.String()) },
  { $id: 'server_metadata' },
)
export type ServerMetadata = Static<typeof ServerMetadata>

export const TensorMetadata = Type.Object({
  name: Type.String(),
  datatype: DatatypeName,
  shape: Type.Array(Type.Integer(), { description: '-1 stands for any size.' }),
})
export type TensorMetadata = Static<typeof TensorMetadata>

export const ModelReady = Type.Object({ name: Type.String(), ready: Type.Boolean() }, { $id: 'model_ready' })

export const ModelMetadata = Type.Object(
  {
    name: Type.String(),
    versions: Type.Array(Type.String()),
    platform: Type.String(),
    inputs: Type.Array(TensorMetadata),
    outputs: Type.Array(TensorMetadata),
  },
  { $id: 'model_metadata' },
)
export type ModelMetadata = Static<typeof ModelMetadata>

const Duration = Type.Object({ count: Type.Integer(), ns: Type.Integer() })

const DURATIONS = [
  'success',
  'fail',
  'queue',
  'compute_input',
  'compute_infer',
  'compute_output',
  'cache_hit',
  'cache_miss',
] as const

export const ModelStatistics = Type.Object({
  name: Type.String(),
  version: Type.String(),
  last_inference: Type.Integer({ description: 'Milliseconds since 1970; 0 where there was none.' }),
  inference_count: Type.Integer({ description: 'Items: a request with a batch of n counts n.' }),
  execution_count: Type.Integer({ description: 'Runs of the model.' }),
  inference_stats: Type.Object(
    Object.fromEntries(DURATIONS.map(name => [name, Duration])) as Record<
      (typeof DURATIONS)[number],
      typeof Duration
    >,
  ),
  batch_stats: Type.Array(
    Type.Object({
      batch_size: Type.Integer(),
      compute_input: Duration,
      compute_infer: Duration,
      compute_output: Duration,
    }),
  ),
})
export type ModelStatistics = Static<typeof ModelStatistics>

export const StatisticsResponse = Type.Object(
  { model_stats: Type.Array(ModelStatistics) },
  { $id: 'statistics_response' },
)

export const IndexRequest = Type.Object({ ready: Type.Optional(Type.Boolean()) }, { $id: 'index_request' })

export const IndexEntry = Type.Object({
  name: Type.String(),
  version: Type.Optional(Type.String()),
  state: Type.Optional(Type.String({ enum: ['LOADING', 'READY', 'UNLOADING', 'UNAVAILABLE'] })),
  reason: Type.Optional(Type.String()),
})
export type IndexEntry = Static<typeof IndexEntry>
export const IndexResponse = Type.Array(IndexEntry, { $id: 'index_response' })

/** Schemas that others name by `$ref` in the OpenAPI document. */
export const SHARED_SCHEMAS = [
  InferenceRequest,
  InferenceResponse,
  ErrorResponse,
  ServerLive,
  ServerReady,
  ServerMetadata,
  ModelReady,
  ModelMetadata,
  StatisticsResponse,
  IndexRequest,
  IndexResponse,
]
