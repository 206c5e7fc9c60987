/**
 * The JSON of an inference request, read and checked against a model: everything that can be said before the tensors' bytes
 * are looked at. Clients send the same header again and again, with other tensors behind it, so headers are remembered.
 * Source: Open Inference Protocol v2 and Triton's extensions binary_tensor_data, classification and parameters.
 */

import { Compile } from 'typebox/compile'
import { BINARY_ONLY } from './datatypes.ts'
import { invalid, quoted } from './errors.ts'
import { scanRequest, type DataSpan, type ScanLimits, type ScannedJson } from './json-scan.ts'
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

/** An input as a header announces it. */
export interface AnnouncedInput {
  readonly port: PortSpec
  readonly dims: readonly number[]
  readonly elements: number
  /** Where its elements are: so many bytes behind the JSON, or a place in the JSON. */
  readonly data: { readonly bytes: number } | DataSpan
}

export interface RequestHeader {
  readonly id: string | null
  readonly parameters: Parameters
  /** One for each input of the model. */
  readonly inputs: readonly AnnouncedInput[]
  readonly outputs: readonly AskedOutput[]
  /** After which an answer is of no use, in milliseconds; null: none given. */
  readonly timeout: number | null
}

export interface RequestLimits extends TensorLimits, ScanLimits {}

const schema = Compile(InferenceRequest)

/** Headers that are remembered at most, and the bytes of the longest. */
const MOST_KNOWN = 64
const LONGEST_KNOWN = 2048

/** Reads headers of requests to one model. */
export class HeaderReader {
  readonly #signature: Signature
  readonly #known = new Map<string, RequestHeader>()

  constructor(signature: Signature) {
    this.#signature = signature
  }

  get signature(): Signature {
    return this.#signature
  }

  /** `limits`: the same ones for all requests. */
  read(json: Uint8Array, limits: RequestLimits): RequestHeader {
    if (json.byteLength > LONGEST_KNOWN) return readHeader(json, this.#signature, limits)
    const key = Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString('latin1')
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const header = readHeader(json, this.#signature, limits)
    // With tensors or an id in it, a header hardly comes again.
    if (header.id === null && header.inputs.every(({ data }) => 'bytes' in data)) {
      if (this.#known.size >= MOST_KNOWN) this.#known.clear()
      this.#known.set(key, header)
    }
    return header
  }
}

function readHeader(json: Uint8Array, signature: Signature, limits: RequestLimits): RequestHeader {
  const scanned = scanRequest(json, limits)
  const request = checkRequest(scanned.value)
  const { parameters = {} } = request
  return {
    id: request.id ?? null,
    parameters,
    inputs: announcedInputs(request.inputs, scanned, signature, limits),
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

function announcedInputs(
  inputs: readonly RequestInput[],
  { spans }: ScannedJson,
  signature: Signature,
  limits: RequestLimits,
): AnnouncedInput[] {
  const names = new Set<string>()
  let total = 0
  const announced = inputs.map(input => {
    const port = portNamed(signature.inputs, input.name, 'input')
    const where = `input ${quoted(input.name)}`
    if (names.has(input.name)) throw invalid(`${where} is given twice`)
    names.add(input.name)
    if (input.datatype !== port.datatype) {
      throw invalid(`${where}: expected datatype ${port.datatype}, found ${input.datatype}`)
    }
    const elements = checkShape(port, input.shape, limits)
    total += memoryOf(port.datatype, elements)
    if (total > limits.decodedBytes) {
      throw invalid(`the inputs have more than ${limits.decodedBytes} bytes, which is the most allowed`)
    }
    return { port, dims: input.shape, elements, data: dataOf(input, port, spans, where) }
  })
  const absent = signature.inputs.filter(({ name }) => !names.has(name))
  if (absent.length > 0) {
    throw invalid(
      `expected ${signature.inputs.length} inputs, found ${names.size}; missing: ${absent.map(({ name }) => quoted(name)).join(', ')}`,
    )
  }
  return announced
}

function dataOf(
  input: RequestInput,
  port: PortSpec,
  spans: readonly DataSpan[],
  where: string,
): AnnouncedInput['data'] {
  const bytes = binarySize(input, where)
  if (bytes !== null) {
    if (input.data !== undefined) throw invalid(`${where} has both "data" and "binary_data_size"`)
    return { bytes }
  }
  if (input.data === undefined) throw invalid(`${where} has no data`)
  if (BINARY_ONLY.has(port.datatype)) {
    throw invalid(`${where}: ${port.datatype} has no JSON form, send it as binary data`)
  }
  return spans[input.data as number]!
}

function binarySize({ parameters }: RequestInput, where: string): number | null {
  const size = parameters?.['binary_data_size']
  if (size === undefined) return null
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`${where}: binary_data_size: expected a number of bytes, found ${quoted(size)}`)
  }
  return size
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
