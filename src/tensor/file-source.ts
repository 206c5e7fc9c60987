/** Positional reads of a local file. */

import { open, type FileHandle } from 'node:fs/promises'
import { InputError, messageOf } from '../util/errors.ts'
import { checkRange, type ByteSource } from './source.ts'

export class FileSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #handle: FileHandle

  private constructor(name: string, byteLength: number, handle: FileHandle) {
    this.name = name
    this.byteLength = byteLength
    this.#handle = handle
  }

  /** Opens a file for positional reads. */
  static async open(path: string): Promise<FileSource> {
    try {
      return await FileSource.fromHandle(path, await open(path, 'r'))
    } catch (error) {
      if (error instanceof InputError) throw error
      throw new InputError(`read ${path}: ${messageOf(error)}`, { cause: error })
    }
  }

  /** Wraps a handle that was opened (and checked) elsewhere; it must be a regular file. */
  static async fromHandle(path: string, handle: FileHandle): Promise<FileSource> {
    const stat = await handle.stat()
    if (!stat.isFile()) {
      await handle.close()
      throw new InputError(`read ${path}: expected a regular file`)
    }
    return new FileSource(path, stat.size, handle)
  }

  get fd(): number {
    return this.#handle.fd
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await this.#handle.read(bytes, done, length - done, offset + done)
      if (bytesRead === 0) {
        throw new InputError(
          `${this.name}: the file became shorter while it was read (at byte ${offset + done})`,
        )
      }
      done += bytesRead
    }
    return bytes
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}
