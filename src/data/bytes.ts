/** Whole files in memory, unpacked if they are gzipped. */

import { promisify } from 'node:util'
import { gunzip as gunzipWithCallback } from 'node:zlib'
import { FileSource } from '../tensor/file-source.ts'
import type { ByteSource } from '../tensor/source.ts'
import { InputError, messageOf } from '../util/errors.ts'
import { formatBytes } from '../util/format.ts'

const gunzip = promisify(gunzipWithCallback)

const BLOCK = 256 * 2 ** 20 // one read call takes less than 2 GiB
const LARGEST_UNPACKED = 4 * 2 ** 30 - 1

/** All bytes of a source. */
export async function readAll(source: ByteSource): Promise<Uint8Array> {
  if (source.byteLength <= BLOCK) return source.read(0, source.byteLength)
  const bytes = new Uint8Array(source.byteLength)
  for (let offset = 0; offset < bytes.byteLength; offset += BLOCK)
    bytes.set(await source.read(offset, Math.min(BLOCK, bytes.byteLength - offset)), offset)
  return bytes
}

/** All bytes of a file. */
export async function loadFile(path: string): Promise<Uint8Array> {
  const source = await FileSource.open(path)
  try {
    return await readAll(source)
  } finally {
    await source.close()
  }
}

export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

/** All bytes of a file, unpacked when it starts with the gzip magic, whatever its name. */
export async function loadUnpacked(path: string, largest = LARGEST_UNPACKED): Promise<Uint8Array> {
  const bytes = await loadFile(path)
  if (!isGzip(bytes)) return bytes
  try {
    return await gunzip(bytes, { maxOutputLength: largest })
  } catch (error) {
    const tooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    const what = tooLarge ? `unpacks to more than ${formatBytes(largest)}` : messageOf(error)
    throw new InputError(`${path}: gzip: ${what}`, {
      cause: error,
      ...(tooLarge ? {} : { cure: 'the file is truncated or damaged; download it again' }),
    })
  }
}
