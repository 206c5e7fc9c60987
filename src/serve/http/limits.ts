/** Bounds on what a request may make the server do. */

import type { RequestLimits } from '../protocol/request-header.ts'

export interface HttpLimits extends RequestLimits {
  /** Bytes of a body, as it comes and unpacked. */
  readonly bodyBytes: number
  /** Bytes of all bodies at one time. */
  readonly allBodiesBytes: number
  /** Milliseconds in which a request must have come in, headers and body. */
  readonly requestMs: number
  readonly headersMs: number
  readonly headersBytes: number
  /** Connections at one time. */
  readonly connections: number
}

const MIB = 2 ** 20

export const DEFAULT_LIMITS: HttpLimits = {
  // Triton's default of --http-max-input-size.
  bodyBytes: 64 * MIB,
  decodedBytes: 64 * MIB,
  allBodiesBytes: 1024 * MIB,
  headerBytes: MIB,
  depth: 64,
  rank: 32,
  elements: 2 ** 28,
  requestMs: 60_000,
  headersMs: 20_000,
  headersBytes: 16 * 1024,
  connections: 4096,
}
