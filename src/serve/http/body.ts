/** Bodies of requests: whole, unpacked and within bounds before anybody looks at them. */

import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip, inflate } from 'node:zlib'
import { invalid, quoted, ServeError } from '../protocol/errors.ts'
import { buffers } from '../execution/buffers.ts'
import type { Memory } from '../execution/work.ts'
import type { HttpLimits } from './limits.ts'

/** Memory that all bodies together may take. */
export class BodyBudget {
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  take(bytes: number): void {
    if (bytes > this.#left) {
      throw new ServeError('unavailable', 'the server holds as many requests as its memory allows', {
        retryAfter: 1,
      })
    }
    this.#left -= bytes
  }

  give(bytes: number): void {
    this.#left += bytes
  }
}

/** A body, and the share of the budget that it holds until it is released. */
export class Body implements Memory {
  readonly #offset: number
  readonly #length: number
  readonly #budget: BodyBudget
  readonly #held: number
  #bytes: Uint8Array
  #users = 1

  constructor(bytes: Uint8Array, budget: BodyBudget, held: number) {
    this.#offset = bytes.byteOffset
    this.#length = bytes.byteLength
    this.#bytes = bytes
    this.#budget = budget
    this.#held = held
  }

  /** None while its memory is lent. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  get buffer(): ArrayBufferLike {
    return this.#bytes.buffer
  }

  give(buffer: ArrayBuffer): void {
    this.#bytes = new Uint8Array(buffer, this.#offset, this.#length)
  }

  /** Keeps it for one more `release`. */
  retain(): void {
    this.#users++
  }

  /** The last one gives the memory back: nobody may look at `bytes`, or at tensors in them, any more. */
  release(): void {
    if (--this.#users !== 0) return
    this.#budget.give(this.#held)
    buffers.give(this.buffer)
  }
}

type BodyLimits = Pick<HttpLimits, 'bodyBytes' | 'allBodiesBytes'>

const UNPACK = new Map([
  ['gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
])

/**
 * Bodies unpacked at one time, as many as the runtime has threads for it: each reserves the most that it can become, and
 * those that wait reserve nothing.
 */
const UNPACKERS = 4

type Unpacker = (bytes: Uint8Array, options: { maxOutputLength: number }) => Promise<Buffer>

/** Deflate packs at most so many bytes into one (RFC 1951 by construction: 258 bytes in two bits). */
const BEST_RATIO = 1032

/** The budget is taken in such steps, as bytes come: all connections together must not reserve it by headers alone. */
const STEP = 1 << 18

/** Memory that is asked for at once where so much is announced; none of it is touched before bytes come. */
const FIRST_BYTES = 1 << 22

/** Reads the bodies of all requests. */
export class Bodies {
  readonly #limits: BodyLimits
  readonly #budget: BodyBudget
  readonly #unpacking = new Turns(UNPACKERS)

  constructor(limits: BodyLimits) {
    this.#limits = limits
    this.#budget = new BodyBudget(limits.allBodiesBytes)
  }

  /**
   * Whoever reads a body releases it, whatever becomes of the request: no event is sure to come when a client leaves.
   *
   * @param lead bytes before what should lie at a multiple of ALIGNMENT; NaN: nothing should
   */
  async read(request: IncomingMessage, lead = NaN): Promise<Body> {
    const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
    const unpacker = UNPACK.get(encoding)
    if (encoding !== 'identity' && unpacker === undefined) {
      throw new ServeError(
        'unsupportedEncoding',
        `content-encoding ${quoted(encoding)}: expected gzip or deflate`,
      )
    }
    const body = await collect(request, lead, this.#limits, this.#budget)
    if (unpacker === undefined) return body
    try {
      return await this.#unpacking.run(() => unpack(body.bytes, unpacker, this.#limits, this.#budget))
    } finally {
      body.release()
    }
  }
}

/** Lets so many do something at one time; the others wait for their turn. */
class Turns {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(turns: number) {
    this.#free = turns
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}

async function unpack(
  packed: Uint8Array,
  unpacker: Unpacker,
  { bodyBytes }: BodyLimits,
  budget: BodyBudget,
): Promise<Body> {
  const most = Math.min(bodyBytes, packed.byteLength * BEST_RATIO + 64)
  budget.take(most)
  let held = most
  try {
    const bytes = await unpacker(packed, { maxOutputLength: most })
    budget.give(most - bytes.byteLength)
    held = bytes.byteLength
    const body = new Body(bytes, budget, held)
    held = 0
    return body
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      throw tooLarge('unpacked', bodyBytes)
    throw invalid('the compressed body is damaged')
  } finally {
    budget.give(held)
  }
}

function tooLarge(size: number | 'unpacked', most: number): ServeError {
  const what = size === 'unpacked' ? 'after decompression' : `of ${size} bytes`
  return invalid(`request size ${what} exceeds the maximum allowed input size of ${most}`)
}

/** Whether bytes of the body may still come: they must not be taken for the next request. */
export function isUnread({ complete, headers }: IncomingMessage): boolean {
  const announced = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  return announced && !complete
}

/** Of a tensor in memory, as vector instructions like it. */
const ALIGNMENT = 64

/** Grows with what comes, to no more than is announced; small chunks do not stay small pieces. */
function collect(
  request: IncomingMessage,
  lead: number,
  { bodyBytes }: BodyLimits,
  budget: BodyBudget,
): Promise<Body> {
  const declared = Number(request.headers['content-length'] ?? NaN)
  if (declared > bodyBytes) throw tooLarge(declared, bodyBytes)
  if (request.destroyed) throw gone()
  const most = Number.isNaN(declared) ? bodyBytes : declared
  let held = 0
  const start = -lead & (ALIGNMENT - 1)
  let buffer = buffers.take(start + (Number.isNaN(declared) ? 0 : Math.min(declared, FIRST_BYTES)))
  let length = 0
  let settled = false
  return new Promise<Body>((resolve, reject) => {
    const fail = (error: ServeError) => {
      request.off('data', onData)
      request.pause()
      if (settled) return
      settled = true
      budget.give(held)
      buffers.give(buffer.buffer)
      reject(error)
    }
    const hold = (needed: number) => {
      const step = Math.min(most, Math.max(needed, held + STEP)) - held
      budget.take(step)
      held += step
    }
    const grow = (needed: number) => {
      const larger = buffers.take(start + Math.min(most, Math.max(needed, 4 * buffer.length, 16_384)))
      larger.set(buffer.subarray(0, start + length))
      buffers.give(buffer.buffer)
      buffer = larger
    }
    const onData = (chunk: Buffer) => {
      const needed = length + chunk.length
      try {
        if (needed > most) throw tooLarge(needed, bodyBytes)
        if (needed > held) hold(needed)
        if (start + needed > buffer.length) grow(needed)
      } catch (error) {
        fail(error as ServeError)
        return
      }
      buffer.set(chunk, start + length)
      length = needed
    }
    request.on('data', onData)
    request.once('end', () => {
      if (settled) return
      settled = true
      resolve(new Body(buffer.subarray(start, start + length), budget, held))
    })
    // All bytes may be here and their end not be told: a connection that is reset destroys the request before.
    request.once('close', () => {
      if (!settled) fail(gone())
    })
  })
}

const gone = () => new ServeError('invalid', 'the client has gone', { reason: 'CANCELED' })
