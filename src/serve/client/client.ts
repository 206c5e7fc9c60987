/**
 * A client for any server of the Open Inference Protocol v2 with Triton's binary tensor extension, for Node and browsers.
 *
 * ```ts
 * const client = new InferenceClient('http://127.0.0.1:8000')
 * const { outputs } = await client.infer('digits', {
 *   image: { datatype: 'FP32', shape: [1, 1, 28, 28], data: new Float32Array(784) },
 * })
 * console.log(outputs.logits.data)
 * ```
 */

import type { Datatype } from '../protocol/datatypes.ts'
import type {
  IndexEntry,
  InferenceResponse,
  ModelMetadata,
  ModelStatistics,
  Parameters,
  ServerMetadata,
} from '../protocol/schemas.ts'
import { bytesOfTensor, tensorOfBytes, type ClientTensor } from './tensor.ts'

export interface ClientOptions {
  /** API key, or the admin token. */
  readonly key?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Default: the platform's. */
  readonly fetch?: typeof fetch
}

export interface InferOptions {
  readonly version?: string
  readonly id?: string
  readonly parameters?: Parameters
  /** Outputs to ask for; a number asks for so many of the most likely classes. Default: all outputs. */
  readonly outputs?: Readonly<Record<string, true | number>>
  /** Milliseconds after which the server gives the request up. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface InferResult {
  readonly model: string
  readonly version: string | null
  readonly id: string | null
  readonly parameters: Parameters
  readonly outputs: Readonly<Record<string, ClientTensor>>
}

/** What the server said instead of a result. */
export class InferenceError extends Error {
  readonly status: number
  /** Seconds after which the server asks to try again; null where it does not. */
  readonly retryAfter: number | null

  constructor(status: number, message: string, retryAfter: number | null) {
    super(message)
    this.name = 'InferenceError'
    this.status = status
    this.retryAfter = retryAfter
  }
}

const HEADER = 'Inference-Header-Content-Length'

export class InferenceClient {
  readonly #base: string
  readonly #options: ClientOptions

  /** `url`: where the server is; paths behind it are kept. */
  constructor(url: string, options: ClientOptions = {}) {
    this.#base = url.replace(/\/+$/, '')
    this.#options = options
  }

  async live(): Promise<boolean> {
    return this.#says('/v2/health/live')
  }

  async ready(): Promise<boolean> {
    return this.#says('/v2/health/ready')
  }

  async modelReady(model: string, version?: string): Promise<boolean> {
    return this.#says(`${modelPath(model, version)}/ready`)
  }

  metadata(): Promise<ServerMetadata> {
    return this.#json('GET', '/v2')
  }

  modelMetadata(model: string, version?: string): Promise<ModelMetadata> {
    return this.#json('GET', modelPath(model, version))
  }

  async statistics(model?: string, version?: string): Promise<readonly ModelStatistics[]> {
    const path = model === undefined ? '/v2/models' : modelPath(model, version)
    const answer = await this.#json<{ model_stats: ModelStatistics[] }>('GET', `${path}/stats`)
    return answer.model_stats
  }

  index(): Promise<readonly IndexEntry[]> {
    return this.#json('POST', '/v2/repository/index', '{}')
  }

  /** Needs the admin token. */
  async load(model: string): Promise<void> {
    await this.#send('POST', `/v2/repository/models/${encodeURIComponent(model)}/load`, '{}')
  }

  /** Needs the admin token. */
  async unload(model: string): Promise<void> {
    await this.#send('POST', `/v2/repository/models/${encodeURIComponent(model)}/unload`, '{}')
  }

  /** Runs a model; tensors travel as binary data both ways. */
  async infer(
    model: string,
    inputs: Readonly<Record<string, ClientTensor>>,
    options: InferOptions = {},
  ): Promise<InferResult> {
    const { header, body } = encodeRequest(inputs, options)
    const response = await this.#send('POST', `${modelPath(model, options.version)}/infer`, body, {
      headers: { 'Content-Type': 'application/octet-stream', [HEADER]: String(header) },
      ...(options.signal ? { signal: options.signal } : {}),
    })
    return decodeResponse(
      new Uint8Array(await response.arrayBuffer()),
      response.headers.get(HEADER.toLowerCase()),
    )
  }

  async #says(path: string): Promise<boolean> {
    try {
      await this.#send('GET', path)
      return true
    } catch (error) {
      if (error instanceof InferenceError) return false
      throw error
    }
  }

  async #json<T>(method: string, path: string, body?: string): Promise<T> {
    return (await (await this.#send(method, path, body)).json()) as T
  }

  async #send(
    method: string,
    path: string,
    body?: string | Uint8Array<ArrayBuffer>,
    { headers = {}, signal }: { headers?: Readonly<Record<string, string>>; signal?: AbortSignal } = {},
  ): Promise<Response> {
    const { key, headers: own = {}, fetch: send = globalThis.fetch } = this.#options
    const response = await send(this.#base + path, {
      method,
      headers: { ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }), ...own, ...headers },
      ...(body === undefined ? {} : { body }),
      ...(signal ? { signal } : {}),
    })
    if (response.ok) return response
    throw await errorOf(response)
  }
}

function modelPath(model: string, version?: string): string {
  const path = `/v2/models/${encodeURIComponent(model)}`
  return version === undefined ? path : `${path}/versions/${encodeURIComponent(version)}`
}

async function errorOf(response: Response): Promise<InferenceError> {
  const text = await response.text()
  let message = `${response.status} ${response.statusText}`
  try {
    const { error } = JSON.parse(text) as { error?: unknown }
    if (typeof error === 'string') message = error
  } catch {
    // Something between us and the server has answered.
  }
  const after = Number(response.headers.get('retry-after') ?? NaN)
  return new InferenceError(response.status, message, Number.isNaN(after) ? null : after)
}

/** A JSON header, and the tensors behind it. */
export function encodeRequest(
  inputs: Readonly<Record<string, ClientTensor>>,
  { id, parameters = {}, outputs, timeout }: InferOptions = {},
): { readonly header: number; readonly body: Uint8Array<ArrayBuffer> } {
  const tensors = Object.entries(inputs).map(([name, tensor]) => ({
    name,
    tensor,
    bytes: bytesOfTensor(tensor),
  }))
  const json = new TextEncoder().encode(
    JSON.stringify({
      id,
      parameters: {
        ...parameters,
        binary_data_output: true,
        ...(timeout === undefined ? {} : { timeout: Math.max(1, Math.round(timeout * 1000)) }),
      },
      inputs: tensors.map(({ name, tensor: { datatype, shape }, bytes }) => ({
        name,
        datatype,
        shape,
        parameters: { binary_data_size: bytes.byteLength },
      })),
      outputs:
        outputs &&
        Object.entries(outputs).map(([name, classes]) => ({
          name,
          parameters: { binary_data: true, ...(classes === true ? {} : { classification: classes }) },
        })),
    }),
  )
  const body = new Uint8Array(json.byteLength + tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0))
  body.set(json)
  let at = json.byteLength
  for (const { bytes } of tensors) {
    body.set(bytes, at)
    at += bytes.byteLength
  }
  return { header: json.byteLength, body }
}

/** `headerLength`: the header of the response that says where binary data begins; null: all of it is JSON. */
export function decodeResponse(body: Uint8Array, headerLength: string | null): InferResult {
  const length = headerLength === null ? body.byteLength : Number(headerLength)
  const message = JSON.parse(new TextDecoder().decode(body.subarray(0, length))) as InferenceResponse
  let at = length
  const outputs = message.outputs.map(({ name, datatype, shape, parameters, data }) => {
    const size = parameters?.['binary_data_size']
    if (typeof size !== 'number') return [name, tensorOfJson(datatype, shape, data ?? [])] as const
    const tensor = tensorOfBytes(datatype, shape, body.subarray(at, at + size))
    at += size
    return [name, tensor] as const
  })
  return {
    model: message.model_name,
    version: message.model_version ?? null,
    id: message.id ?? null,
    parameters: message.parameters ?? {},
    outputs: Object.fromEntries(outputs),
  }
}

/** Servers may answer in JSON although binary data was asked for. */
function tensorOfJson(datatype: Datatype, shape: readonly number[], data: readonly unknown[]): ClientTensor {
  const flat = data.flat(Infinity) as readonly (number | string | boolean | null)[]
  if (datatype === 'BYTES') return { datatype, shape, data: flat.map(String) }
  const bytes = tensorOfBytes(datatype, [0], new Uint8Array(0)).data
  const array = new (bytes.constructor as new (length: number) => Float32Array)(flat.length) as unknown
  flat.forEach((value, i) => {
    const target = array as (number | bigint | null)[]
    target[i] =
      array instanceof BigInt64Array || array instanceof BigUint64Array
        ? BigInt(value as number)
        : value === null
          ? NaN
          : Number(value)
  })
  return { datatype, shape, data: array } as ClientTensor
}
