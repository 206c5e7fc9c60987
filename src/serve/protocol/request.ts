/**
 * From the body of an inference request to tensors. Source: Open Inference Protocol v2 and Triton's extensions
 * binary_tensor_data (JSON header, then little-endian tensors in the order of the inputs), classification and parameters.
 */

import { Compile } from 'typebox/compile'
import type { Feeds } from '../../runtime/engine.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { decodeStrings } from './bytes-elements.ts'
import { BINARY_ONLY, elementBytes } from './datatypes.ts'
import { invalid, quoted } from './errors.ts'
import { tensorOfJson } from './json-elements.ts'
import { scanRequest, type ScannedJson, type ScanLimits } from './json-scan.ts'
import { InferenceRequest, type Parameters, type RequestInput } from './schemas.ts'
import {
  checkShape,
  memoryOf,
  portNamed,
  type PortSpec,
  type Signature,
  type TensorLimits,
} from './signature.ts'

export interface AskedOutput {
  readonly name: string
  /** As binary data, or in the JSON. */
  readonly binary: boolean
  /** The most likely classes in place of the tensor; 0: the tensor. */
  readonly classes: number
}

export interface TensorRequest {
  readonly id: string | null
  readonly parameters: Parameters
  /** One for each input of the model, as its signature says. */
  readonly inputs: Feeds
  readonly outputs: readonly AskedOutput[]
  /** After which an answer is of no use, in milliseconds; null: none given. */
  readonly timeout: number | null
}

export interface RequestLimits extends TensorLimits, ScanLimits {}

const schema = Compile(InferenceRequest)

/**
 * @param headerLength bytes of JSON before binary data (`Inference-Header-Content-Length`); null: all of the body is JSON;
 *   0: all of it is the tensor of the only input
 */
export function decodeRequest(
  body: Uint8Array,
  headerLength: number | null,
  signature: Signature,
  limits: RequestLimits,
): TensorRequest {
  if (headerLength === 0) return rawRequest(body, signature, limits)
  if (headerLength !== null && headerLength > body.byteLength) {
    throw invalid(
      `Inference-Header-Content-Length is ${headerLength}, more than the ${body.byteLength} bytes of the body`,
    )
  }
  const json = headerLength === null ? body : body.subarray(0, headerLength)
  const binary = body.subarray(json.byteLength)
  const scanned = scanRequest(json, limits)
  const request = checkRequest(scanned.value)
  const { parameters = {} } = request
  return {
    id: request.id ?? null,
    parameters,
    inputs: decodeInputs(request.inputs, json, scanned, binary, signature, limits),
    outputs: askedOutputs(request, signature),
    timeout: timeoutOf(parameters),
  }
}

/** Whether it is a request at all; says where not. */
function checkRequest(value: unknown): InferenceRequest {
  if (schema.Check(value)) return value
  const [error] = schema.Errors(value)
  const missing = error?.params as { requiredProperties?: readonly string[] } | undefined
  const what = missing?.requiredProperties?.length
    ? `"${missing.requiredProperties.join('", "')}" is missing`
    : (error?.message ?? 'unexpected form')
  throw invalid(`the request is not valid at ${quoted(error?.instancePath || '/')}: ${what}`)
}

function decodeInputs(
  inputs: readonly RequestInput[],
  json: Uint8Array,
  { spans }: ScannedJson,
  binary: Uint8Array,
  signature: Signature,
  limits: RequestLimits,
): Feeds {
  const feeds = new Map<string, Tensor>()
  let total = 0
  let at = 0
  for (const input of inputs) {
    const port = portNamed(signature.inputs, input.name, 'input')
    const where = `input ${quoted(input.name)}`
    if (feeds.has(input.name)) throw invalid(`${where} is given twice`)
    if (input.datatype !== port.datatype) {
      throw invalid(`${where}: expected datatype ${port.datatype}, found ${input.datatype}`)
    }
    const elements = checkShape(port, input.shape, limits)
    total += memoryOf(port.datatype, elements)
    if (total > limits.decodedBytes) {
      throw invalid(`the inputs have more than ${limits.decodedBytes} bytes, which is the most allowed`)
    }
    const size = binarySize(input, where)
    if (size === null) {
      if (input.data === undefined) throw invalid(`${where} has no data`)
      if (BINARY_ONLY.has(port.datatype)) {
        throw invalid(`${where}: ${port.datatype} has no JSON form, send it as binary data`)
      }
      feeds.set(
        input.name,
        tensorOfJson(json, spans[input.data as number]!, port.datatype, input.shape, where),
      )
    } else {
      if (input.data !== undefined) throw invalid(`${where} has both "data" and "binary_data_size"`)
      if (size > binary.byteLength - at) {
        throw invalid(
          `${where}: binary_data_size is ${size}, but ${binary.byteLength - at} bytes are left in the body`,
        )
      }
      feeds.set(input.name, binaryTensor(port, input.shape, elements, binary.subarray(at, at + size)))
      at += size
    }
  }
  if (at !== binary.byteLength) {
    throw invalid(`unexpected additional input data: ${binary.byteLength - at} bytes behind the last tensor`)
  }
  const absent = signature.inputs.filter(({ name }) => !feeds.has(name))
  if (absent.length > 0) {
    throw invalid(
      `expected ${signature.inputs.length} inputs, found ${feeds.size}; missing: ${absent.map(({ name }) => quoted(name)).join(', ')}`,
    )
  }
  return feeds
}

function binarySize({ parameters }: RequestInput, where: string): number | null {
  const size = parameters?.['binary_data_size']
  if (size === undefined) return null
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`${where}: binary_data_size: expected a number of bytes, found ${quoted(size)}`)
  }
  return size
}

function binaryTensor(port: PortSpec, dims: readonly number[], elements: number, data: Uint8Array): Tensor {
  const where = `input ${quoted(port.name)}`
  if (port.datatype === 'BYTES') return new Tensor(port.dtype, dims, decodeStrings(data, elements, where))
  const expected = elements * elementBytes(port.datatype)
  if (data.byteLength !== expected) {
    throw invalid(
      `${where}: unexpected number of bytes ${data.byteLength}, expected ${expected} for ${port.datatype} [${dims.join(',')}]`,
    )
  }
  // Other values than 0 and 1 are no booleans to ONNX Runtime's kernels.
  if (port.datatype === 'BOOL' && data.some(byte => byte > 1)) {
    throw invalid(`${where}: BOOL data must be bytes 0 and 1`)
  }
  return new Tensor(port.dtype, dims, data)
}

/** A body that is the only input's tensor, of the model's datatype and as its shape leaves open. */
function rawRequest(body: Uint8Array, signature: Signature, limits: RequestLimits): TensorRequest {
  const [port] = signature.inputs
  if (port === undefined || signature.inputs.length !== 1) {
    throw invalid(
      `a raw binary request needs a model with one input, this one has ${signature.inputs.length}`,
    )
  }
  const open = port.shape?.filter(dim => dim === null).length
  if (port.shape === null || open === undefined || open > 1) {
    throw invalid('a raw binary request needs an input with at most one dimension of any size')
  }
  const known = port.shape.reduce<number>((product, dim) => product * (dim ?? 1), 1)
  const unit = known * elementBytes(port.datatype)
  const strings = port.datatype === 'BYTES'
  if (strings && known !== 1)
    throw invalid('a raw binary request holds one BYTES element, the input has more')
  if (!strings && open === 1 && (unit === 0 || body.byteLength % unit !== 0)) {
    throw invalid(
      `input ${quoted(port.name)}: expected a multiple of ${unit} bytes, found ${body.byteLength}`,
    )
  }
  const size = strings ? 1 : open === 1 ? body.byteLength / unit : 1
  const dims = port.shape.map(dim => dim ?? size)
  const elements = checkShape(port, dims, limits)
  const tensor = strings ? new Tensor('string', dims, [body]) : binaryTensor(port, dims, elements, body)
  return {
    id: null,
    parameters: {},
    inputs: new Map([[port.name, tensor]]),
    outputs: signature.outputs.map(({ name }) => ({ name, binary: true, classes: 0 })),
    timeout: null,
  }
}

function askedOutputs({ outputs, parameters = {} }: InferenceRequest, signature: Signature): AskedOutput[] {
  const everyBinary = booleanOf(parameters, 'binary_data_output') ?? false
  if (outputs === undefined || outputs.length === 0) {
    return signature.outputs.map(({ name }) => ({ name, binary: everyBinary, classes: 0 }))
  }
  const names = new Set<string>()
  return outputs.map(({ name, parameters: own = {} }) => {
    portNamed(signature.outputs, name, 'output')
    if (names.has(name)) throw invalid(`output ${quoted(name)} is asked for twice`)
    names.add(name)
    return { name, binary: booleanOf(own, 'binary_data') ?? everyBinary, classes: classesOf(own) }
  })
}

function booleanOf(parameters: Parameters, key: string): boolean | undefined {
  const value = parameters[key]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalid(`parameter ${key}: expected true or false, found ${quoted(value)}`)
}

function classesOf(parameters: Parameters): number {
  const value = parameters['classification']
  if (value === undefined) return 0
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 1e6) return value
  throw invalid(`parameter classification: expected a number of classes, found ${quoted(value)}`)
}

/** The reserved parameter `timeout` is in microseconds. */
function timeoutOf(parameters: Parameters): number | null {
  const value = parameters['timeout']
  if (value === undefined) return null
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0)
    return value === 0 ? null : value / 1000
  throw invalid(`parameter timeout: expected microseconds, found ${quoted(value)}`)
}
