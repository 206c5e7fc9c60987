/** Who may do what: everybody, whoever has the API key, or whoever has the admin token. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { quoted, ServeError } from '../protocol/errors.ts'

export type Access = 'open' | 'user' | 'admin'

export interface AuthOptions {
  /** null: nobody needs one. */
  readonly apiKey: string | null
  /** null: nobody may do what needs it. */
  readonly adminToken: string | null
}

export class Auth {
  readonly #apiKey: Buffer | null
  readonly #adminToken: Buffer | null

  constructor({ apiKey, adminToken }: AuthOptions) {
    this.#apiKey = apiKey === null ? null : digest(apiKey)
    this.#adminToken = adminToken === null ? null : digest(adminToken)
  }

  /** Throws where the headers do not give this access: `Authorization: Bearer <key>` or `X-API-Key: <key>`. */
  check(access: Access, headers: IncomingHttpHeaders): void {
    if (access === 'open') return
    if (access === 'admin' && this.#adminToken === null) {
      throw new ServeError('forbidden', 'loading and unloading models is switched off on this server')
    }
    if (access === 'user' && this.#apiKey === null) return
    const given = tokenOf(headers)
    if (given === null) {
      throw new ServeError('unauthorized', 'this needs a key: send it as "Authorization: Bearer <key>"')
    }
    const found = digest(given)
    // Both are compared in any case, so that the time tells nothing.
    const admin = equal(found, this.#adminToken)
    const user = equal(found, this.#apiKey)
    if (admin || (user && access === 'user')) return
    throw access === 'admin' && user
      ? new ServeError('forbidden', 'this needs the admin token')
      : new ServeError('unauthorized', 'the key is not valid')
  }
}

/** Of one length for any secret, which timingSafeEqual wants. */
function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

function equal(a: Buffer, b: Buffer | null): boolean {
  return timingSafeEqual(a, b ?? Buffer.alloc(32)) && b !== null
}

function tokenOf(headers: IncomingHttpHeaders): string | null {
  const bearer = /^Bearer\s+(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  const key = headers['x-api-key']
  return bearer ?? (typeof key === 'string' ? key : null)
}

/** The names by which the server may be addressed. */
export interface HostNames {
  /** null: any. */
  readonly names: ReadonlySet<string> | null
  /** Those that the operator named: pages of these are the server's own, whatever Host a proxy in between sends on. */
  readonly own: ReadonlySet<string>
}

/** At least one of them is in every request of a browser, whatever the page in it does. */
const OF_BROWSERS = ['accept-language', 'origin', 'sec-fetch-site'] as const

/**
 * A site may give its own name the address of this machine. To browsers it is then of one origin with the server, and with
 * a GET they send no sign of it but the name. Programs call the server as they like.
 */
export function checkHost(headers: IncomingHttpHeaders, { names }: HostNames): void {
  if (OF_BROWSERS.every(header => headers[header] === undefined)) return
  const name = withoutPort(headers.host ?? '').toLowerCase()
  if (names === null || names.has(name)) return
  throw new ServeError('forbidden', `${quoted(name)} is not a name of this server; --allow-host makes it one`)
}

/**
 * A page of another site must not use the browser of somebody who can reach this server. Only browsers send these headers.
 * A link to `page`, the document that the server itself has, may be followed from anywhere: it shows nothing to the site.
 */
export function checkBrowser(headers: IncomingHttpHeaders, { own }: HostNames, page: boolean): void {
  const { origin, host, 'sec-fetch-site': site } = headers
  const followed =
    page && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
  const sameSite = site === undefined || site === 'same-origin' || site === 'none' || followed
  const from = origin?.replace(/^https?:\/\//, '')
  const sameOrigin = from === undefined || from === host || own.has(withoutPort(from))
  if (sameSite && sameOrigin) return
  throw new ServeError('forbidden', 'requests of pages of other sites are not answered')
}

function withoutPort(host: string): string {
  return host.replace(/:\d+$/, '')
}

export const LOOPBACK_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])
