/** What the server tells its page beside the protocol. */

import type { TensorMetadata } from '../protocol/schemas.ts'

/** A file that the page may fetch. */
export interface PageFile {
  readonly name: string
  readonly url: string
  readonly bytes: number
}

/** An input or output. */
export interface PagePort extends TensorMetadata {
  /** Whether the model leaves its rank open, of which the protocol knows nothing: the shape is then [-1]. */
  readonly anyRank: boolean
}

/** `GET /page/models.json`: one version in service. */
export interface PageModel {
  readonly name: string
  readonly version: string
  /** When it was loaded, milliseconds since 1970: a file that is replaced keeps its version. */
  readonly loaded: number
  readonly ready: boolean
  /** Whether the first dimension of inputs and outputs counts samples. */
  readonly batched: boolean
  /** Names of classes 0, 1, ...; null where there are none. */
  readonly labels: readonly string[] | null
  readonly inputs: readonly PagePort[]
  readonly outputs: readonly PagePort[]
  /** What a person should know about how it is run. */
  readonly note: string | null
  /** The ONNX file, to run it in the browser; null where the server does not share it. */
  readonly model: PageFile | null
  /** Data files of its weights, under the names that the model knows them by. */
  readonly dataFiles: readonly PageFile[]
  /** Files of a tokenizer for text; null where there is none. */
  readonly tokenizer: { readonly url: string; readonly configUrl: string | null } | null
}

export interface PageServer {
  readonly name: string
  readonly version: string
  /** `cpu`, `cuda`, ... */
  readonly engine: string
  readonly models: readonly PageModel[]
}

/** `GET /page/traffic.json`: counters since the server was started; the page takes differences. */
export interface PageTraffic {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly versions: readonly VersionTraffic[]
}

export interface VersionTraffic {
  readonly name: string
  readonly version: string
  /** As that of the model. */
  readonly loaded: number
  readonly success: number
  readonly failures: number
  readonly items: number
  readonly executions: number
  /** Requests that wait or run now. */
  readonly pending: number
  /** Requests that took at most so many seconds; the last bound is infinite (null). */
  readonly latency: { readonly bounds: readonly (number | null)[]; readonly counts: readonly number[] }
}
