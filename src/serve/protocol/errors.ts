/**
 * What goes wrong with a request, as a client is told: a kind, which stands for the status code, and a sentence without
 * paths and internals. Source of the codes: Triton's mapping of its error codes to HTTP.
 */

export const STATUS = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  wrongVerb: 405,
  timeout: 408,
  tooLarge: 413,
  unsupportedEncoding: 415,
  internal: 500,
  unsupported: 501,
  unavailable: 503,
} as const

export type ErrorKind = keyof typeof STATUS

/** Why a request failed, for the metric `nv_inference_request_failure`. */
export type FailureReason = 'REJECTED' | 'CANCELED' | 'BACKEND' | 'OTHER'

export class ServeError extends Error {
  readonly kind: ErrorKind
  /** Seconds after which it is worth to ask again. */
  readonly retryAfter: number | null
  readonly reason: FailureReason

  constructor(
    kind: ErrorKind,
    message: string,
    details: { readonly retryAfter?: number; readonly reason?: FailureReason; readonly cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'ServeError'
    this.kind = kind
    this.retryAfter = details.retryAfter ?? null
    this.reason = details.reason ?? (kind === 'unavailable' ? 'REJECTED' : 'OTHER')
  }

  get status(): number {
    return STATUS[this.kind]
  }
}

export const invalid = (message: string) => new ServeError('invalid', message)

/** Text from a client inside a message: printable, and short. */
export function quoted(text: unknown): string {
  const whole = JSON.stringify(typeof text === 'string' ? text : (text ?? null)) as string | undefined
  if (whole === undefined) return 'null'
  return whole.length <= 80 ? whole : `${whole.slice(0, 76)}..."`
}
