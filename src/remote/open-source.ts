/** Files as byte sources, wherever they are. */

import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { FileSource } from '../tensor/file-source.ts'
import type { ByteSource } from '../tensor/source.ts'
import { UsageError } from '../util/errors.ts'
import { isUrl, nameOf, schemeOf } from '../util/location.ts'
import { openHttp, statHttp } from './http-reader.ts'
import type { RangeReader, RemoteOptions, RemoteStat } from './range-reader.ts'
import { RemoteSource } from './remote-source.ts'
import { openS3 } from './s3-reader.ts'

interface Scheme {
  readonly open: (location: string, options: RemoteOptions) => Promise<RangeReader>
  readonly stat: (location: string, options: RemoteOptions) => Promise<RemoteStat>
}

const HTTP: Scheme = { open: openHttp, stat: statHttp }
const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ['https', HTTP],
  ['http', HTTP],
  ['s3', { open: openS3, stat: openS3 }],
])

function schemeFor(location: string): Scheme {
  const scheme = SCHEMES.get(schemeOf(location))
  if (scheme) return scheme
  throw new UsageError(`read ${nameOf(location)}: expected a path, https://, http:// or s3://`, {
    cure: 'give a local file as a path; download others first',
  })
}

/** Opens a path or URL for reads by range; nothing but what is read is transferred. */
export async function openSource(location: string, options: RemoteOptions = {}): Promise<ByteSource> {
  if (!isUrl(location)) return FileSource.open(location)
  return new RemoteSource(await schemeFor(location).open(location, options))
}

/** What tells that a file is not the one that was seen before. */
export interface FileStamp {
  readonly bytes: number
  /** Of local files the last change, in milliseconds; of remote ones a number made from what names their versions. */
  readonly modified: number
}

/** The stamp of several files that are one checkpoint, all of them paths or all of them URLs. */
export async function stampFiles(locations: readonly string[]): Promise<FileStamp> {
  if (!locations.some(isUrl)) {
    const stats = await Promise.all(locations.map(location => stat(location)))
    return {
      bytes: stats.reduce((sum, { size }) => sum + size, 0),
      modified: Math.max(...stats.map(({ mtimeMs }) => mtimeMs)),
    }
  }
  const stats = await Promise.all(locations.map(location => schemeFor(location).stat(location, {})))
  const versions = stats.map(({ version }) => version)
  return {
    bytes: stats.reduce((sum, { byteLength }) => sum + byteLength, 0),
    modified: createHash('sha256').update(JSON.stringify(versions)).digest().readUIntBE(0, 6),
  }
}
