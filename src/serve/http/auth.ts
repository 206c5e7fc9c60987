/** Who may do what: everybody, whoever has the API key, or whoever has the admin token. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { ServeError } from '../protocol/errors.ts'

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

/**
 * A page of another site must not use the browser of somebody who can reach this server. Only browsers send these headers;
 * `hosts`: the names under which the server may be addressed by them, null where any will do.
 */
export function checkBrowser(headers: IncomingHttpHeaders, hosts: ReadonlySet<string> | null): void {
  const site = headers['sec-fetch-site']
  if (site === undefined && headers.origin === undefined) return
  const host = (headers.host ?? '').replace(/:\d+$/, '')
  const sameSite = site === undefined || site === 'same-origin' || site === 'none'
  const origin = headers.origin
  const sameOrigin = origin === undefined || origin.replace(/^https?:\/\//, '') === headers.host
  if (sameSite && sameOrigin && (hosts === null || hosts.has(host))) return
  throw new ServeError('forbidden', 'requests of pages of other sites are not answered')
}

export const LOOPBACK_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])
