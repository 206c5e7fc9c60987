/** Ranges of a file on a web server, all of one version of it. */

import { InputError, SwaError, UnsupportedError } from '../util/errors.ts'
import { HEAD_BYTES } from './block-cache.ts'
import { BROKEN, readBody, readUpTo } from './body.ts'
import { HttpClient } from './http-client.ts'
import { checkPlain, contentRange, differs, versionOf, type Version } from './http-headers.ts'
import { withPatience, type Patience } from './patience.ts'
import { changed, TIMEOUT_MS, type RangeReader, type RemoteOptions, type RemoteStat } from './range-reader.ts'
import { TransientError, withRetries } from './retry.ts'

/** Files of servers without ranges are read whole, into memory, up to this. */
const LARGEST_WHOLE = 64 * 2 ** 20

/** Asks for the first bytes, which tell the length, the version, and whether the server knows ranges. */
export function openHttp(location: string, options: RemoteOptions = {}): Promise<RangeReader> {
  const client = new HttpClient(location)
  return repeat(client, options, async patience => {
    const { response, version, byteLength } = await probe(client, HEAD_BYTES, patience)
    if (response.status !== 206) {
      const bytes = response.status === 416 ? new Uint8Array(0) : await wholeOf(client, response, patience)
      return inMemory(client.name, bytes, version)
    }
    const length = Math.min(HEAD_BYTES, byteLength!)
    const head = await readBody(client.name, bodyOf(client, response), length, patience)
    return new HttpReader(client, byteLength!, version, head, options)
  })
}

/** Asks for one byte to learn the length and the version. */
export function statHttp(location: string, options: RemoteOptions = {}): Promise<RemoteStat> {
  const client = new HttpClient(location)
  return repeat(client, options, async patience => {
    const { response, version, byteLength } = await probe(client, 1, patience)
    return {
      byteLength: byteLength ?? (await wholeOf(client, response, patience)).byteLength,
      version: version.etag ?? version.modified,
    }
  })
}

function repeat<T>(
  { name }: HttpClient,
  options: RemoteOptions,
  attempt: (patience: Patience) => Promise<T>,
): Promise<T> {
  return withRetries(`read ${name}`, () => withPatience(options.timeoutMs ?? TIMEOUT_MS, attempt), options)
}

interface Probe {
  /** 206; 416 for a file without bytes; 200 from a server that does not know ranges. */
  readonly response: Response
  readonly version: Version
  /** Null where the server does not say. */
  readonly byteLength: number | null
}

async function probe(client: HttpClient, length: number, { signal }: Patience): Promise<Probe> {
  const response = await client.get({ range: `bytes=0-${length - 1}` }, signal)
  const version = versionOf(response)
  if (response.status === 416) {
    if (response.headers.get('content-range')?.trim() === 'bytes */0')
      return { response, version, byteLength: 0 }
    throw new InputError(`read ${client.name}: the server has no bytes to read (416)`, BROKEN)
  }
  if (response.status !== 206) {
    const stated = response.headers.get('content-length')
    return { response, version, byteLength: stated === null ? null : Number(stated) }
  }
  const byteLength = contentRange(client.name, response, 0, total => Math.min(length, total))
  return { response, version, byteLength }
}

class HttpReader implements RangeReader {
  readonly byteLength: number
  readonly head: Uint8Array
  readonly #client: HttpClient
  readonly #version: Version
  readonly #options: RemoteOptions

  constructor(
    client: HttpClient,
    byteLength: number,
    version: Version,
    head: Uint8Array,
    options: RemoteOptions,
  ) {
    this.byteLength = byteLength
    this.head = head
    this.#client = client
    this.#version = version
    this.#options = options
  }

  get name(): string {
    return this.#client.name
  }

  get version(): string | null {
    return this.#version.etag ?? this.#version.modified
  }

  fetch(offset: number, length: number): Promise<Uint8Array> {
    return repeat(this.#client, this.#options, patience => this.#attempt(offset, length, patience))
  }

  async #attempt(offset: number, length: number, patience: Patience): Promise<Uint8Array> {
    const { etag, modified } = this.#version
    // A weak ETag does not promise equal bytes, and If-Range does not take one.
    const same = etag !== null && !etag.startsWith('W/') ? etag : modified
    const response = await this.#client.get(
      { range: `bytes=${offset}-${offset + length - 1}`, ...(same === null ? {} : { 'if-range': same }) },
      patience.signal,
    )
    if (response.status === 416 || differs(this.#version, versionOf(response))) throw changed(this.name)
    if (response.status !== 206)
      throw new InputError(
        `read ${this.name}: the server sends the whole file where a part was asked for`,
        BROKEN,
      )
    contentRange(this.name, response, offset, total => {
      if (total !== this.byteLength) throw changed(this.name)
      return length
    })
    return readBody(this.name, bodyOf(this.#client, response), length, patience)
  }
}

/** The body of an answer; a connection that breaks is an error of the client's. */
async function* bodyOf(client: HttpClient, { body }: Response): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) yield chunk
  } catch (error) {
    throw error instanceof SwaError ? error : client.broken(error)
  }
}

/** The file of a server that does not know ranges. */
async function wholeOf(client: HttpClient, response: Response, patience: Patience): Promise<Uint8Array> {
  checkPlain(client.name, response)
  const stated = response.headers.get('content-length')
  const bytes =
    Number(stated ?? 0) > LARGEST_WHOLE
      ? null
      : await readUpTo(bodyOf(client, response), LARGEST_WHOLE, patience)
  if (!bytes) {
    throw new UnsupportedError(
      `read ${client.name}: the server does not give parts of files, and this one is longer than ${LARGEST_WHOLE / 2 ** 20} MiB`,
      { cure: 'download the file and name it instead, or put it on a server with range requests' },
    )
  }
  if (stated !== null && Number(stated) !== bytes.byteLength)
    throw new TransientError(`expected ${stated} bytes, the server sends ${bytes.byteLength}`)
  return bytes
}

function inMemory(name: string, bytes: Uint8Array, version: Version): RangeReader {
  return {
    name,
    byteLength: bytes.byteLength,
    version: version.etag ?? version.modified,
    head: bytes.subarray(0, HEAD_BYTES),
    fetch: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
  }
}
