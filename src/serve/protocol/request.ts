/**
 * From the body of an inference request to tensors. Source: Open Inference Protocol v2 and Triton's extension
 * binary_tensor_data (JSON header, then little-endian tensors in the order of the inputs).
 */

import type { Feeds } from '../../runtime/engine.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { decodeStrings } from './bytes-elements.ts'
import { elementBytes } from './datatypes.ts'
import { invalid, quoted } from './errors.ts'
import { tensorOfJson } from './json-elements.ts'
import type { AnnouncedInput, HeaderReader, RequestHeader, RequestLimits } from './request-header.ts'
import { checkShape, type PortSpec, type Signature } from './signature.ts'

export interface TensorRequest extends Omit<RequestHeader, 'inputs'> {
  /** One for each input of the model, as its signature says. Binary data is not copied: they are views of the body. */
  readonly inputs: Feeds
}

/**
 * @param headerLength bytes of JSON before binary data (`Inference-Header-Content-Length`); null: all of the body is JSON;
 *   0: all of it is the tensor of the only input
 */
export function decodeRequest(
  body: Uint8Array,
  headerLength: number | null,
  reader: HeaderReader,
  limits: RequestLimits,
): TensorRequest {
  if (headerLength === 0) return rawRequest(body, reader.signature, limits)
  if (headerLength !== null && headerLength > body.byteLength) {
    throw invalid(
      `Inference-Header-Content-Length is ${headerLength}, more than the ${body.byteLength} bytes of the body`,
    )
  }
  const json = headerLength === null ? body : body.subarray(0, headerLength)
  const header = reader.read(json, limits)
  return { ...header, inputs: decodeInputs(header.inputs, json, body.subarray(json.byteLength)) }
}

function decodeInputs(inputs: readonly AnnouncedInput[], json: Uint8Array, binary: Uint8Array): Feeds {
  const feeds = new Map<string, Tensor>()
  let at = 0
  for (const { port, dims, elements, data } of inputs) {
    if (!('bytes' in data)) {
      feeds.set(port.name, tensorOfJson(json, data, port.datatype, dims, inputNamed(port)))
      continue
    }
    if (data.bytes > binary.byteLength - at) {
      throw invalid(
        `${inputNamed(port)}: binary_data_size is ${data.bytes}, but ${binary.byteLength - at} bytes are left in the body`,
      )
    }
    feeds.set(port.name, binaryTensor(port, dims, elements, binary.subarray(at, at + data.bytes)))
    at += data.bytes
  }
  if (at !== binary.byteLength) {
    throw invalid(`unexpected additional input data: ${binary.byteLength - at} bytes behind the last tensor`)
  }
  return feeds
}

const inputNamed = ({ name }: PortSpec) => `input ${quoted(name)}`

function binaryTensor(port: PortSpec, dims: readonly number[], elements: number, data: Uint8Array): Tensor {
  if (port.datatype === 'BYTES')
    return new Tensor(port.dtype, dims, decodeStrings(data, elements, inputNamed(port)))
  const expected = elements * elementBytes(port.datatype)
  if (data.byteLength !== expected) {
    throw invalid(
      `${inputNamed(port)}: unexpected number of bytes ${data.byteLength}, expected ${expected} for ${port.datatype} [${dims.join(',')}]`,
    )
  }
  // Other values than 0 and 1 are no booleans to ONNX Runtime's kernels.
  if (port.datatype === 'BOOL' && data.some(byte => byte > 1)) {
    throw invalid(`${inputNamed(port)}: BOOL data must be bytes 0 and 1`)
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
    throw invalid(`${inputNamed(port)}: expected a multiple of ${unit} bytes, found ${body.byteLength}`)
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
