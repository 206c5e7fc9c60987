/** From output tensors to the body of a response: a JSON object, or a JSON header with binary tensors behind it. */

import type { Tensor } from '../../tensor/tensor.ts'
import { encodeStrings } from './bytes-elements.ts'
import { classify } from './classification.ts'
import { BINARY_ONLY, datatypeOf, type Datatype } from './datatypes.ts'
import { invalid, quoted, ServeError } from './errors.ts'
import type { AskedOutput } from './request-header.ts'
import type { InferenceResponse } from './schemas.ts'

/** Who answers. */
export interface Answerer {
  readonly name: string
  readonly version: string
  /** Whether the first dimension of every output counts samples. */
  readonly batched: boolean
  /** Names of classes. */
  readonly labels: readonly string[] | null
}

export interface EncodedResponse {
  /** Bytes of the JSON header; null where the JSON is all there is. */
  readonly headerLength: number | null
  /** What to send, one after the other. */
  readonly parts: readonly Uint8Array[]
}

export function encodeResponse(
  results: ReadonlyMap<string, Tensor>,
  asked: readonly AskedOutput[],
  answerer: Answerer,
  id: string | null,
): EncodedResponse {
  const parts: Uint8Array[] = []
  const outputs = asked.map(({ name, binary, classes }) => {
    const found = results.get(name)
    if (found === undefined) throw new ServeError('internal', `output ${quoted(name)} was not computed`)
    const tensor = classes === 0 ? found : classify(found, classes, answerer.batched, answerer.labels, name)
    const datatype = datatypeOf(tensor.dtype)!
    const head = { name, datatype, shape: [...tensor.dims] }
    if (!binary) return withMember(head, 'data', jsonElements(tensor, datatype, name))
    const bytes =
      tensor.dtype === 'string'
        ? encodeStrings(tensor.data as readonly Uint8Array[])
        : (tensor.data as Uint8Array)
    parts.push(bytes)
    return JSON.stringify({ ...head, parameters: { binary_data_size: bytes.byteLength } })
  })
  const head = {
    model_name: answerer.name,
    model_version: answerer.version,
    ...(id === null ? {} : { id }),
  } satisfies Partial<InferenceResponse>
  const json = Buffer.from(withMember(head, 'outputs', `[${outputs.join(',')}]`))
  return { headerLength: parts.length === 0 ? null : json.byteLength, parts: [json, ...parts] }
}

/** The JSON of an object with one more member, whose value is JSON already. */
function withMember(object: object, key: string, json: string): string {
  return `${JSON.stringify(object).slice(0, -1)},"${key}":${json}}`
}

/** All of them become one text, while nobody else is answered; the runtime has no texts beyond 512 MB. */
const MOST_IN_JSON = 2 ** 23

/** A flat JSON array. It has no NaN and no infinities: they are null, as JSON.stringify writes them. */
function jsonElements(tensor: Tensor, datatype: Datatype, name: string): string {
  if (BINARY_ONLY.has(datatype)) {
    throw invalid(
      `output ${quoted(name)}: ${datatype} has no JSON form, ask for it with the parameter binary_data`,
    )
  }
  if (tensor.size > MOST_IN_JSON) {
    throw invalid(
      `output ${quoted(name)}: expected at most ${MOST_IN_JSON} elements as JSON, found ${tensor.size}; ask for it with the parameter binary_data`,
    )
  }
  if (tensor.dtype === 'string') {
    const strings = tensor.data as readonly Uint8Array[]
    return JSON.stringify(strings.map(bytes => new TextDecoder().decode(bytes)))
  }
  const array = tensor.view()
  // All digits: a number of JavaScript would lose some.
  if (array instanceof BigInt64Array || array instanceof BigUint64Array) return `[${array.join(',')}]`
  if (datatype === 'BOOL') return JSON.stringify(Array.from(array, value => value !== 0))
  return JSON.stringify(Array.from(array))
}
