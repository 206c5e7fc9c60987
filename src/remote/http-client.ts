/** Requests for one file on a web server: where it has moved to, what its errors mean. */

import { EnvironmentError, InputError, messageOf, type SwaError } from '../util/errors.ts'
import { nameOf, parseUrl } from '../util/location.ts'
import { authorizationFor, TOKEN_VARIABLE } from './http-access.ts'
import { parseRetryAfter, TransientError } from './retry.ts'

const MOST_REDIRECTS = 5
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** Answers of the server that may be others a moment later. */
const TRANSIENT: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])
/** What a target of a redirect says when its signature has expired. */
const EXPIRED: ReadonlySet<number> = new Set([400, 401, 403, 404, 410])

const ACCESS = `check the address; links with a signature expire after a while; a token is given as ${TOKEN_VARIABLE}="host=token"`
const REFUSED: ReadonlyMap<number, readonly [string, string]> = new Map([
  [401, ['the server asks who you are', ACCESS]],
  [403, ['the server denies access', ACCESS]],
  [404, ['there is no such file', 'check the address']],
  [410, ['the file is gone', 'check the address']],
])

/** What another attempt cannot cure: names that do not exist, certificates that are not valid. */
const FINAL = /ENOTFOUND|CERT|SELF_SIGNED|TLS/

export class HttpClient {
  /** The URL without secrets. */
  readonly name: string
  readonly #address: URL
  readonly #authorization: string | null
  /** Where the last redirect led to. */
  #target: URL

  constructor(location: string) {
    this.name = nameOf(location)
    this.#address = parseUrl(location)
    this.#authorization = authorizationFor(this.#address)
    // A URL with a user is not taken by `fetch`.
    this.#address.username = ''
    this.#address.password = ''
    this.#target = this.#address
  }

  /** One GET, redirects followed; errors are thrown but for 416. What is not read of a body ends with the signal. */
  async get(headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    const target = this.#target
    const response = await this.#follow(target, headers, signal)
    if (target === this.#address || !EXPIRED.has(response.status)) return this.#checked(response)
    this.#target = this.#address
    return this.#checked(await this.#follow(this.#address, headers, signal))
  }

  async #follow(
    from: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Response> {
    let url = from
    for (let hops = 0; hops <= MOST_REDIRECTS; hops++) {
      const response = await this.#send(url, headers, signal)
      if (!REDIRECTS.has(response.status)) {
        if (response.ok) this.#target = url
        return response
      }
      url = this.#next(url, response)
    }
    throw new InputError(`read ${this.name}: more than ${MOST_REDIRECTS} redirects`, {
      cure: 'give the address that the file has in the end',
    })
  }

  async #send(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    const own = this.#authorization !== null && url.origin === this.#address.origin
    try {
      return await fetch(url, {
        headers: {
          ...headers,
          'user-agent': 'swa-onnx',
          ...(own ? { authorization: this.#authorization } : {}),
        },
        redirect: 'manual',
        signal,
      })
    } catch (error) {
      throw this.broken(error)
    }
  }

  #next(from: URL, response: Response): URL {
    const location = response.headers.get('location')
    const url = location !== null && URL.canParse(location, from.href) ? new URL(location, from) : null
    const refuse = (what: string): InputError =>
      new InputError(
        `read ${this.name}: the server redirects (${response.status}) ${what}, which is not followed`,
        {
          cure: 'give the address that the file has in the end',
        },
      )
    if (!url) throw refuse('to no address')
    if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse(`to ${url.protocol}`)
    if (from.protocol === 'https:' && url.protocol === 'http:') throw refuse('from https to http')
    url.username = ''
    url.password = ''
    return url
  }

  #checked(response: Response): Response {
    // 416 is for the reader, who knows what was asked for.
    if (response.ok || response.status === 416) return response
    const { status, headers } = response
    if (TRANSIENT.has(status)) {
      throw new TransientError(`the server answers ${status}`, {
        waitMs: parseRetryAfter(headers.get('retry-after')),
      })
    }
    const [what, cure] = REFUSED.get(status) ?? ['the server refuses', 'check the address']
    throw new InputError(`read ${this.name}: ${what} (${status})`, { cure })
  }

  /** The error of a connection that failed or broke: one to try again, or not. */
  broken(error: unknown): SwaError | TransientError {
    // `fetch failed` and `terminated` have their reason as cause.
    const reason = error instanceof Error && error.cause !== undefined ? error.cause : error
    const code = (reason as NodeJS.ErrnoException).code ?? ''
    const text = messageOf(reason) || code
    if (!FINAL.test(code)) return new TransientError(text, { cause: error })
    return new EnvironmentError(`read ${this.name}: ${text}`, {
      cause: error,
      cure: 'check the address and the connection',
    })
  }
}
