/** Ranges of an object in S3 (or a store that speaks its protocol), through the AWS SDK, which is not installed with us. */

import { EnvironmentError, InputError, messageOf, SwaError } from '../util/errors.ts'
import { addressOf, nameOf } from '../util/location.ts'
import { readBody } from './body.ts'
import { withPatience, type Patience } from './patience.ts'
import { changed, TIMEOUT_MS, type RangeReader, type RemoteOptions } from './range-reader.ts'
import { TransientError, withRetries } from './retry.ts'

const PACKAGE = '@aws-sdk/client-s3'

interface ObjectRequest {
  readonly Bucket: string
  readonly Key: string
  readonly Range?: string
  readonly IfMatch?: string
}

interface ObjectAnswer {
  readonly ContentLength?: number
  readonly ETag?: string
  readonly LastModified?: Date
  readonly Body?: AsyncIterable<Uint8Array>
}

interface S3Client {
  send(command: object, options: { abortSignal: AbortSignal }): Promise<ObjectAnswer>
}

/** What is used of the SDK. */
export interface S3Module {
  readonly S3Client: new (config: { followRegionRedirects: boolean; forcePathStyle: boolean }) => S3Client
  readonly HeadObjectCommand: new (request: ObjectRequest) => object
  readonly GetObjectCommand: new (request: ObjectRequest) => object
}

/** The module and a client, whose settings (region, credentials, endpoint) are those of the environment. */
export interface S3Access {
  readonly module: S3Module
  readonly client: S3Client
}

let access: Promise<S3Access> | null = null

/** One client for all objects of the process. */
export function s3Access(): Promise<S3Access> {
  access ??= connect(() => import(PACKAGE) as Promise<S3Module>)
  return access
}

/** Loads the SDK; `load` imports it. */
export async function connect(load: () => Promise<S3Module>): Promise<S3Access> {
  const module = await load().catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
    const what = missing ? 'is not installed' : `cannot be loaded: ${messageOf(error)}`
    throw new EnvironmentError(`s3:// needs the package ${PACKAGE}, which ${what}`, {
      cause: error,
      cure: `npm install ${PACKAGE}`,
    })
  })
  // Other stores than Amazon's seldom have a host name for each bucket.
  const forcePathStyle = (process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL']) !== undefined
  return { module, client: new module.S3Client({ followRegionRedirects: true, forcePathStyle }) }
}

/** Asks for the length and the ETag of an object. */
export async function openS3(
  location: string,
  options: RemoteOptions = {},
  given: Promise<S3Access> = s3Access(),
): Promise<RangeReader> {
  const name = nameOf(location)
  const object = parseObject(location)
  const { module, client } = await given
  const send = <T>(
    command: (request: ObjectRequest) => object,
    request: Partial<ObjectRequest>,
    use: (answer: ObjectAnswer, patience: Patience) => T | Promise<T>,
  ): Promise<T> => {
    const attempt = async (patience: Patience) => {
      try {
        const sent = client.send(command({ ...object, ...request }), { abortSignal: patience.signal })
        return await use(await sent, patience)
      } catch (error) {
        throw errorOf(name, error)
      }
    }
    return withRetries(`read ${name}`, () => withPatience(options.timeoutMs ?? TIMEOUT_MS, attempt), options)
  }
  const {
    ContentLength: byteLength,
    ETag,
    LastModified,
  } = await send(
    request => new module.HeadObjectCommand(request),
    {},
    answer => answer,
  )
  if (byteLength === undefined) throw new InputError(`read ${name}: the store does not tell its length`)
  return {
    name,
    byteLength,
    version: ETag ?? LastModified?.toISOString() ?? null,
    head: new Uint8Array(0),
    fetch: (offset, length) =>
      send(
        request => new module.GetObjectCommand(request),
        { Range: `bytes=${offset}-${offset + length - 1}`, ...(ETag === undefined ? {} : { IfMatch: ETag }) },
        (answer, patience) => {
          if (ETag !== undefined && answer.ETag !== undefined && answer.ETag !== ETag) throw changed(name)
          return readBody(name, answer.Body ?? NOTHING, length, patience)
        },
      ),
  }
}

const NOTHING: AsyncIterable<Uint8Array> = {
  [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve({ done: true, value: undefined }) }),
}

/** `s3://bucket/key`; a key may contain anything. */
function parseObject(location: string): { Bucket: string; Key: string } {
  const [, bucket, key] = /^s3:\/\/([\w.-]+)\/(.*[^/])$/is.exec(addressOf(location)) ?? []
  if (bucket !== undefined && key !== undefined) return { Bucket: bucket, Key: key }
  throw new InputError(`read ${nameOf(location)}: expected s3://bucket/key`, {
    cure: 'name one object; keys of access belong in the environment or in ~/.aws',
  })
}

/** Of an error of the SDK: its name, and the status of the answer, if there was one. */
interface SdkError {
  readonly name?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

const ACCESS =
  'check the address, and the credentials that the AWS SDK finds (AWS_PROFILE, AWS_ACCESS_KEY_ID)'
const REFUSED: ReadonlyMap<number, readonly [string, string]> = new Map([
  [301, ['the bucket is in another region', 'set AWS_REGION to that of the bucket']],
  [400, ['the store does not accept the request', ACCESS]],
  [401, ['the store asks who you are', ACCESS]],
  [403, ['the store denies access', ACCESS]],
  [404, ['there is no such object', 'check the address']],
])
/** Connections that the SDK could not make or keep. */
const CONNECTION = /^(TimeoutError|NetworkingError|AbortError|ECONN|EPIPE|EAI_AGAIN|ETIMEDOUT)/

function errorOf(name: string, error: unknown): Error {
  if (error instanceof SwaError || error instanceof TransientError) return error
  const { name: kind = '', $metadata } = error as SdkError
  const status = $metadata?.httpStatusCode
  // What was checked with If-Match is not what is there, or is shorter.
  if (status === 412 || status === 416) return changed(name)
  if (status === 429 || (status !== undefined && status >= 500))
    return new TransientError(`the store answers ${status}`, { cause: error })
  const code = (error as NodeJS.ErrnoException).code ?? ''
  if (CONNECTION.test(kind) || CONNECTION.test(code))
    return new TransientError(messageOf(error) || code, { cause: error })
  const refused = status === undefined ? undefined : REFUSED.get(status)
  if (refused)
    return new InputError(`read ${name}: ${refused[0]} (${status})`, { cause: error, cure: refused[1] })
  const text = kind === 'Error' ? messageOf(error) : `${kind}: ${messageOf(error)}`
  return new EnvironmentError(`read ${name}: ${text}`, {
    cause: error,
    cure: 'check the settings of the AWS SDK: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL',
  })
}
