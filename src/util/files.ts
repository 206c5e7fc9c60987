/** Atomic file writing: a file is complete under its name, or it is not there. */

import { constants, createReadStream, type PathLike } from 'node:fs'
import { open, readdir, rename, rm, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { createHash, randomBytes, type Hash } from 'node:crypto'
import { EnvironmentError, invariant, messageOf } from './errors.ts'

const TEMPORARY = /^\.(.+)\.(\d+)\.[0-9a-f]{8}\.tmp$/

/** Bytes that are written before the disk is told to begin. */
const FLUSH = 1 << 26

/** Flushes a folder's entries, so that a rename survives a power cut. Not every platform can open folders. */
export async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(folder, 'r')
    await handle.sync()
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw error
  } finally {
    await handle?.close()
  }
}

/** A file that was written. */
export interface WrittenFile {
  readonly path: string
  readonly bytes: number
  /** Null where it was not asked for. */
  readonly sha256: string | null
}

/** Where a file that can be resumed is until it is finished. */
export function unfinishedPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.unfinished`)
}

/** A file being written beside its target; nothing exists under the final name before `commit`. */
export class AtomicFile {
  readonly path: string
  readonly temporary: string
  readonly handle: FileHandle
  #position = 0
  readonly #hash: Hash | null
  readonly #kept: boolean
  #flushed = 0
  #flushing: Promise<void> | null = null

  private constructor(path: string, temporary: string, handle: FileHandle, checksum: boolean, kept = false) {
    this.#kept = kept
    this.#hash = checksum ? createHash('sha256') : null
    this.path = path
    this.temporary = temporary
    this.handle = handle
  }

  /**
   * Creates the temporary file `.<name>.<pid>.<random>.tmp` in the target's folder. `checksum`: whether SHA-256 is taken of
   * what is appended; then nothing is written in other places. `resume`: the file is `.<name>.unfinished`, stays when it is
   * aborted, and begins with so many bytes of the one that is there.
   */
  static async create(
    path: string,
    { checksum = false, resume }: { readonly checksum?: boolean; readonly resume?: number } = {},
  ): Promise<AtomicFile> {
    if (resume !== undefined) return AtomicFile.#resume(path, checksum, resume)
    const name = `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
    const temporary = join(dirname(path), name)
    try {
      const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR
      return new AtomicFile(path, temporary, await open(temporary, flags, 0o666), checksum)
    } catch (error) {
      throw writeError(path, error)
    }
  }

  static async #resume(path: string, checksum: boolean, bytes: number): Promise<AtomicFile> {
    const temporary = unfinishedPath(path)
    try {
      const handle = await open(temporary, constants.O_CREAT | constants.O_RDWR, 0o666)
      const file = new AtomicFile(path, temporary, handle, checksum, true)
      await handle.truncate(bytes)
      file.#position = bytes
      if (file.#hash && bytes > 0) {
        const options = { start: 0, end: bytes - 1, autoClose: false }
        for await (const chunk of handle.createReadStream(options)) file.#hash.update(chunk as Buffer)
      }
      return file
    } catch (error) {
      throw writeError(path, error)
    }
  }

  /** Bytes appended so far. */
  get position(): number {
    return this.#position
  }

  /** Appends bytes, or writes them at `position` without moving the end of the appended part. */
  async write(bytes: Uint8Array, position?: number): Promise<void> {
    const start = position ?? this.#position
    invariant(position === undefined || !this.#hash, `${this.path}: written out of order, with a checksum`)
    try {
      let done = 0
      while (done < bytes.byteLength) {
        const writing = this.handle.write(bytes, done, bytes.byteLength - done, start + done)
        // While the disk is busy.
        if (done === 0) this.#hash?.update(bytes)
        done += (await writing).bytesWritten
      }
    } catch (error) {
      throw writeError(this.path, error)
    }
    if (position === undefined) this.#position += bytes.byteLength
    if (this.#position - this.#flushed >= FLUSH && this.#flushing === null) this.#flush()
  }

  /** Sends what was written to the disk while more is being made; that it arrived is seen to at the end. */
  #flush(): void {
    this.#flushed = this.#position
    this.#flushing = this.handle
      .datasync()
      .catch(() => undefined)
      .then(() => {
        this.#flushing = null
      })
  }

  /** Flushes, closes and renames over the target. */
  async commit(): Promise<WrittenFile> {
    try {
      await this.#flushing
      await this.handle.sync()
      await this.handle.close()
      await rename(this.temporary, this.path)
      await syncFolder(dirname(this.path))
    } catch (error) {
      await rm(this.temporary, { force: true })
      throw writeError(this.path, error)
    }
    return { path: this.path, bytes: this.#position, sha256: this.#hash?.digest('hex') ?? null }
  }

  /** Removes the temporary file, unless it is one to be resumed; the target is as it was. */
  async abort(): Promise<void> {
    await this.#flushing
    await this.handle.close().catch(() => undefined)
    if (!this.#kept) await rm(this.temporary, { force: true })
  }

  /** Makes sure that what was appended is on the disk. */
  async flush(): Promise<void> {
    await this.handle.datasync()
  }
}

/** Runs `write` on an atomic file; commits when it succeeds, removes the temporary when it throws. */
export async function withAtomicFile<T>(path: string, write: (file: AtomicFile) => Promise<T>): Promise<T> {
  const file = await AtomicFile.create(path)
  let result: T
  try {
    result = await write(file)
  } catch (error) {
    await file.abort()
    throw error
  }
  await file.commit()
  return result
}

/** Writes a whole file atomically. */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  await withAtomicFile(path, file => file.write(bytes))
}

/** SHA-256 of a file. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Removes temporary files left in a folder by processes that no longer run. */
export async function sweepTemporaryFiles(folder: string): Promise<string[]> {
  const swept: string[] = []
  for (const name of await readdir(folder)) {
    const pid = TEMPORARY.exec(name)?.[2]
    if (pid === undefined || isRunning(Number(pid))) continue
    await rm(join(folder, name), { force: true })
    swept.push(name)
  }
  return swept
}

/** Whether a process of this number runs on this machine. */
export function isRunning(pid: number): boolean {
  if (pid === process.pid) return true
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

const WRITE_CURES: Record<string, string> = {
  ENOSPC: 'free some disk space and run the command again',
  EDQUOT: 'free some of your disk quota and run the command again',
  EACCES: 'choose an output path that you may write to',
  EPERM: 'choose an output path that you may write to',
  EROFS: 'choose an output path on a writable disk',
  ENOENT: 'create the folder first',
  ENOTDIR: 'choose a path whose folders are folders, not files',
  EISDIR: 'a folder has the name of the file: move it away, or choose another path',
  EFBIG: 'raise the limit on file sizes (ulimit -f), or write to a disk that takes larger files',
}

/** The error of a failed write, with its cure where one is known. */
export function writeError(path: PathLike, error: unknown): EnvironmentError {
  const cure = WRITE_CURES[(error as NodeJS.ErrnoException).code ?? '']
  return new EnvironmentError(`write ${String(path)}: ${messageOf(error)}`, {
    cause: error,
    ...(cure === undefined ? {} : { cure }),
  })
}
