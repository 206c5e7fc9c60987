/**
 * A lock on a folder: a file that names the process that works there. It is worth nothing once that process is gone, so
 * that a killed process never bars the way.
 */

import { link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { EnvironmentError, messageOf } from './errors.ts'
import { isRunning, writeError } from './files.ts'

const NAME = '.lock'
/** A lock of another machine, whose processes cannot be asked for, counts while it is touched this often. */
const TOUCH_MS = 10_000
const STALE_MS = 60_000

interface Owner {
  readonly pid: number
  readonly host: string
  /** When the process began, which tells it from a later one of the same number; null where the system does not say. */
  readonly began: string | null
}

/** Locks held by this process. */
const held = new Set<string>()

/**
 * Locks a folder for this process, or throws when another works there.
 *
 * @returns what releases it
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, NAME)
  const owner: Owner = { pid: process.pid, host: hostname(), began: await beginOf(process.pid) }
  const text = `${JSON.stringify(owner)}\n`
  while (!(await create(path, text))) {
    const found = await readLock(path)
    if (found === null) continue
    const working = await isWorking(path, found)
    if (working) {
      throw new EnvironmentError(`${folder}: ${working} works in this folder`, {
        cure: `wait for it to end, or choose another folder; if it is gone for certain, remove ${path}`,
      })
    }
    await removeStale(path, found)
  }
  held.add(path)
  const timer = setInterval(() => {
    const now = new Date()
    // Who removed the lock by hand wanted that.
    utimes(path, now, now).catch(() => undefined)
  }, TOUCH_MS)
  timer.unref()
  return async () => {
    clearInterval(timer)
    held.delete(path)
    if ((await readLock(path)) === text) await rm(path, { force: true })
  }
}

/** The text of the lock; null where there is none. */
async function readLock(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new EnvironmentError(`read ${path}: ${messageOf(error)}`, { cause: error })
  }
}

/** Makes the lock file; false where there is one. */
async function create(path: string, text: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx')
    try {
      await handle.writeFile(text)
    } catch (error) {
      await rm(path, { force: true })
      throw error
    } finally {
      await handle.close()
    }
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw writeError(path, error)
  }
}

/** Who holds the lock, for a message; null when nobody does. */
async function isWorking(path: string, text: string): Promise<string | null> {
  const owner = parseOwner(text)
  if (owner === null || owner.host !== hostname()) {
    const touched = await stat(path).catch(() => null)
    const fresh = touched !== null && Date.now() - touched.mtimeMs < STALE_MS
    return fresh ? (owner ? `process ${owner.pid} on ${owner.host}` : 'another process') : null
  }
  const { pid, began } = owner
  if (pid === process.pid) return held.has(path) ? 'this process' : null
  if (!isRunning(pid)) return null
  return began === (await beginOf(pid)) ? `process ${pid}` : null
}

/** Removes the lock that was read, and no newer one that took its place meanwhile. */
async function removeStale(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}`
  try {
    await rename(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw writeError(path, error)
  }
  if ((await readFile(aside, 'utf8')) !== text) await link(aside, path).catch(() => undefined)
  await rm(aside, { force: true })
}

function parseOwner(text: string): Owner | null {
  try {
    const owner = JSON.parse(text) as Partial<Owner> | null
    if (typeof owner?.pid !== 'number' || typeof owner.host !== 'string') return null
    return { pid: owner.pid, host: owner.host, began: owner.began ?? null }
  } catch {
    return null
  }
}

/** Start time of a process in clock ticks, from Linux's /proc. */
async function beginOf(pid: number): Promise<string | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name, in parentheses, may hold blanks; field 22 is the 20th behind it.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null
}
