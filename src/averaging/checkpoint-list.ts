/** Which files are meant by what a person writes: paths, patterns, folders, lists. */

import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { InputError, messageOf, UsageError } from '../util/errors.ts'
import { isUrl, nameOf } from '../util/location.ts'
import { isIndex, isShard } from './shards.ts'

const ENDINGS = new Set(['.onnx', '.safetensors', '.pt', '.pth', '.ckpt', '.npz'])
/** Where `finetune` keeps what it averages. */
const SNAPSHOTS = 'snapshots'

/**
 * The files, in order: a path is itself, and so is a URL; `*` and `?` in a file name are a pattern (for shells that leave
 * them); a folder stands for the checkpoints in it, a run folder for its snapshots; `@list.txt` for the lines of a file, `@-`
 * for those of `input`. Files of a folder or pattern come in the order of the numbers in their names.
 */
export async function listCheckpoints(
  given: readonly string[],
  input: () => Promise<string> = () => Promise.reject(new Error('there is no standard input')),
): Promise<string[]> {
  const found: string[] = []
  for (const item of given) {
    if (item === '@-') found.push(...(await listed('standard input', input)))
    else if (item.startsWith('@')) found.push(...(await listed(item.slice(1), () => readList(item.slice(1)))))
    else found.push(...(await filesOf(item)))
  }
  return found
}

function readList(path: string): Promise<string> {
  if (!isUrl(path)) return readFile(path, 'utf8')
  throw new UsageError(`average: the list ${nameOf(path)}: expected a local file, or @- for standard input`)
}

/** The lines of a list; empty ones and those that begin with # are none. */
async function listed(name: string, read: () => Promise<string>): Promise<string[]> {
  const text = await read().catch((error: unknown) => {
    throw new InputError(`average: the list ${name} cannot be read: ${messageOf(error)}`, { cause: error })
  })
  const lines = text.split(/\r?\n/).map(line => line.trim())
  const paths = lines.filter(line => line !== '' && !line.startsWith('#'))
  if (paths.length === 0) throw new InputError(`average: the list ${name} names no file`)
  const files: string[] = []
  for (const path of paths) files.push(...(await filesOf(path)))
  return files
}

async function filesOf(path: string): Promise<string[]> {
  // Servers do not list files, and `?` begins a query.
  if (isUrl(path)) return [path]
  const info = await stat(path).catch(() => null)
  if (info?.isDirectory()) return filesIn(path)
  // What is there under this name is no pattern; what is not there is reported when it is opened.
  if (info || !/[*?]/.test(basename(path))) return [path]
  const folder = dirname(path)
  const pattern = patternOf(basename(path))
  const names = (await namesIn(folder)).filter(name => pattern.test(name))
  if (names.length === 0) throw new UsageError(`average: no file matches ${path}`)
  return names.map(name => join(folder, name))
}

async function filesIn(folder: string): Promise<string[]> {
  const all = await namesIn(folder)
  // An index stands for its parts.
  const indexed = all.some(isIndex)
  const names = all.filter(name =>
    indexed && isShard(name) ? false : isIndex(name) || ENDINGS.has(extname(name).toLowerCase()),
  )
  const snapshots = join(folder, SNAPSHOTS)
  if ((await stat(snapshots).catch(() => null))?.isDirectory()) return filesIn(snapshots)
  if (names.length > 0) return names.map(name => join(folder, name))
  throw new InputError(`average: ${folder} holds no checkpoint (${[...ENDINGS].join(', ')})`)
}

/** Names in a folder, hidden ones left out, 9 before 10. */
async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new InputError(`average: ${folder} cannot be read: ${messageOf(error)}`, { cause: error })
  })
  const { compare } = new Intl.Collator('en', { numeric: true })
  return names.filter(name => !name.startsWith('.')).sort(compare)
}

/** `*` stands for any letters of a file name, `?` for one. */
function patternOf(text: string): RegExp {
  const parts = text
    .split(/([*?])/)
    .map(part => (part === '*' ? '.*' : part === '?' ? '.' : part.replace(/[\\^$.|+()[\]{}]/g, '\\$&')))
  return new RegExp(`^${parts.join('')}$`, 's')
}
