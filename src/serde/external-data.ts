/**
 * Weights outside the model file. The path comes from the model, hence from anybody: it must stay inside the model's
 * folder, by name and in truth (CVE-2022-25882, 2024-27318, 2026-27489, 2026-34446), and name a plain file.
 */

import { createHash } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { lstat, open, realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, posix, relative, sep, win32 } from 'node:path'
import { openSource } from '../remote/index.ts'
import { InputError, messageOf } from '../util/errors.ts'
import { beside, isUrl } from '../util/location.ts'
import { FileSource } from '../tensor/file-source.ts'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import type { StringStringEntryProto } from './proto.ts'
import { readChunks } from './segment.ts'

interface Entry {
  readonly location: string
  readonly offset: number
  readonly length: number | null
  readonly checksum: string | null
}

/** The data files of one model, each opened once. */
export class ExternalFiles {
  readonly #model: string
  readonly #files = new Map<string, Promise<ByteSource>>()

  /** `model`: the path or URL of the model file, in whose folder they are. */
  constructor(model: string) {
    this.#model = model
  }

  /** Checks the entries of a tensor and gives its range; the length must be that of its type and dims. */
  async find(
    entries: readonly StringStringEntryProto[],
    byteLength: number,
    where: string,
  ): Promise<ByteRange> {
    const entry = parseEntries(entries, where)
    if (entry.length !== null && entry.length !== byteLength) {
      throw new InputError(`${where}: expected ${byteLength} bytes, external data states ${entry.length}`)
    }
    const location = checkLocation(entry.location, where)
    let file = this.#files.get(location)
    if (file === undefined) {
      file = isUrl(this.#model)
        ? openRemote(this.#model, location, where)
        : openInside(dirname(this.#model), location, where)
      this.#files.set(location, file)
    }
    const source = await file
    if (entry.checksum !== null) await this.#verify(source, entry.checksum, where)
    if (entry.offset + byteLength > source.byteLength) {
      const end = entry.offset + byteLength
      throw new InputError(
        `${where}: bytes ${entry.offset} to ${end} of ${source.name} are wanted, it has ${source.byteLength}`,
        { cure: 'the data file is truncated or belongs to another model; copy it again' },
      )
    }
    return { source, offset: entry.offset, length: byteLength }
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) {
      await file.then(
        source => source.close(),
        () => undefined,
      )
    }
  }

  readonly #digests = new Map<ByteSource, Promise<string>>()

  /** `checksum` is the SHA-1 of the whole data file. */
  async #verify(source: ByteSource, expected: string, where: string): Promise<void> {
    let digest = this.#digests.get(source)
    if (digest === undefined) {
      digest = sha1(source)
      this.#digests.set(source, digest)
    }
    const found = await digest
    if (found === expected.toLowerCase()) return
    throw new InputError(`${where}: ${source.name} has SHA-1 ${found}, the model expects ${expected}`, {
      cure: 'the data file is damaged or belongs to another model; copy it again',
    })
  }
}

async function sha1(source: ByteSource): Promise<string> {
  const hash = createHash('sha1')
  for await (const chunk of readChunks({ source, offset: 0, length: source.byteLength })) hash.update(chunk)
  return hash.digest('hex')
}

const KEYS = ['location', 'offset', 'length', 'checksum']

/** Only these four keys mean anything (CVE-2026-34445); others are carried, never used. */
function parseEntries(entries: readonly StringStringEntryProto[], where: string): Entry {
  const found = new Map<string, string>()
  for (const { key, value } of entries) {
    if (!KEYS.includes(key ?? '')) continue
    if (found.has(key!)) throw new InputError(`${where}: external data states ${key} twice`)
    found.set(key!, value ?? '')
  }
  const bytes = (key: string): number | null => {
    const text = found.get(key)
    if (text === undefined) return null
    const value = Number(text)
    if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
    throw new InputError(`${where}: external data has the ${key} "${text}", expected a number of bytes`)
  }
  return {
    location: found.get('location') ?? '',
    offset: bytes('offset') ?? 0,
    length: bytes('length'),
    checksum: found.get('checksum') ?? null,
  }
}

/** The location in normal form; refuses what could lead elsewhere. */
export function checkLocation(location: string, where: string): string {
  const refuse = (what: string): never => {
    throw new InputError(`${where}: the external data location ${JSON.stringify(location)} ${what}`, {
      cure: 'data files must lie in the folder of the model or below it',
    })
  }
  if (location === '') refuse('is empty')
  if (location.includes('\0')) refuse('contains a zero byte')
  if (location.startsWith('*/')) refuse('stands for memory of another process')
  if (posix.isAbsolute(location) || win32.isAbsolute(location) || /^[a-z]:/i.test(location))
    refuse('is absolute')
  if (location.split(/[\\/]/).includes('..')) refuse('leads out of its folder')
  const normal = posix.normalize(location)
  if (normal === '.' || normal.endsWith('/')) refuse('names no file')
  return normal
}

/** Opens a file in the folder of a model's URL or below it, on the same server: a location never becomes another URL. */
async function openRemote(model: string, location: string, where: string): Promise<ByteSource> {
  try {
    return await openSource(beside(model, location))
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    throw new InputError(`${where}: the data file cannot be read: ${error.message}`, {
      cause: error,
      cure: 'a model with external data needs its data files beside it',
    })
  }
}

/** Opens a plain file below a folder: no symbolic link on the way, no other name for the same bytes. */
async function openInside(folder: string, location: string, where: string): Promise<FileSource> {
  const path = join(folder, location)
  const refuse = (what: string): InputError =>
    new InputError(`${where}: the data file ${path} ${what}`, {
      cure: 'put the file itself, not a link to it, into the folder of the model',
    })
  let before: Stats
  try {
    const inside = relative(await realpath(folder), await realpath(dirname(path)))
    if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
      throw refuse("lies outside the model's folder")
    }
    before = await lstat(path)
  } catch (error) {
    if (error instanceof InputError) throw error
    throw new InputError(`${where}: the data file ${path} cannot be read: ${messageOf(error)}`, {
      cause: error,
      cure: 'a model with external data needs its data files beside it',
    })
  }
  if (before.isSymbolicLink()) throw refuse('is a symbolic link')
  if (!before.isFile()) throw refuse('is not a regular file')
  if (before.nlink > 1) throw refuse(`has ${before.nlink} hard links`)
  // Opened without following a link, nor waiting for a pipe, that took the file's place just now.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(path, flags).catch((error: unknown) => {
    throw new InputError(`${where}: the data file ${path} cannot be read: ${messageOf(error)}`, {
      cause: error,
    })
  })
  const after = await handle.stat()
  if (after.ino !== before.ino || after.dev !== before.dev || !after.isFile() || after.nlink > 1) {
    await handle.close()
    throw refuse('changed while it was opened')
  }
  return FileSource.fromHandle(path, handle)
}
