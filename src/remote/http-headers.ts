/** What the headers of an answer say about the file and about the part of it that comes. */

import { InputError } from '../util/errors.ts'
import { BROKEN } from './body.ts'

/** What tells one version of a file from others. */
export interface Version {
  readonly etag: string | null
  readonly modified: string | null
}

export function versionOf({ headers }: Response): Version {
  return { etag: headers.get('etag'), modified: headers.get('last-modified') }
}

/** Answers to If-Range may leave a header out; what both have must be the same. */
export function differs(a: Version, b: Version): boolean {
  const other = (x: string | null, y: string | null) => x !== null && y !== null && x !== y
  return other(a.etag, b.etag) || other(a.modified, b.modified)
}

/** Compressed bodies are unpacked on the way, and a part of one is no part of the file. */
export function checkPlain(name: string, { headers }: Response): void {
  const encoding = headers.get('content-encoding') ?? 'identity'
  if (encoding === 'identity') return
  throw new InputError(`read ${name}: expected plain bytes, the server sends ${encoding}`, BROKEN)
}

/**
 * Checks that the bytes from `offset` on come, as many as `lengthOf` says of the length of the whole file, which is
 * returned.
 */
export function contentRange(
  name: string,
  response: Response,
  offset: number,
  lengthOf: (total: number) => number,
): number {
  checkPlain(name, response)
  const text = response.headers.get('content-range') ?? ''
  const [, first, last, total] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(text.trim()) ?? []).map(Number)
  if (first === undefined || last === undefined || total === undefined) {
    const found = text === '' ? 'none' : JSON.stringify(text)
    throw new InputError(
      `read ${name}: expected a Content-Range with the file's length, found ${found}`,
      BROKEN,
    )
  }
  const end = offset + lengthOf(total) - 1
  if (first === offset && last === end) return total
  throw new InputError(
    `read ${name}: expected bytes ${offset} to ${end}, the server sends ${first} to ${last}`,
    BROKEN,
  )
}
