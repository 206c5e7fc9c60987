/**
 * What lies in the files and folders that are served. In a folder, each ONNX file is a model, and so is each folder that
 * holds versions in Triton's layout (`model/version/model.onnx`); so is the folder itself where it holds versions.
 */

import { existsSync, type Dirent } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { loadModel } from '../../serde/index.ts'
import { InputError, messageOf } from '../../util/errors.ts'
import { isModelName, isVersion, nameFrom } from './names.ts'

/** One version of a model on disk. */
export interface VersionSource {
  readonly version: string
  /** The ONNX file. */
  readonly path: string
  /** Changes whenever one of the files does. */
  readonly stamp: string
  /** A file with the names of the classes, one a line. */
  readonly labels: string | null
  /** A folder with tokenizer.json. */
  readonly tokenizer: string | null
}

export interface ModelSource {
  readonly name: string
  /** The file of a single model, the folder of one with versions. */
  readonly place: string
  readonly versions: readonly VersionSource[]
  /** Triton's config.pbtxt. */
  readonly config: string | null
}

/** One of the places that a person named. */
export interface Place {
  readonly path: string
  /** The name for the model that is there; null: that of the file or folder. */
  readonly name: string | null
}

/** The data files that the model at a path was found to have when it was loaded. */
export type DataFilesOf = (path: string) => readonly string[]

export interface Scan {
  readonly models: readonly ModelSource[]
  /** What could not be looked at or taken; the rest is there, and what was there before stays. */
  readonly problems: readonly InputError[]
}

/** All places that a person named, and what lay there when they were last looked at. */
export class Places {
  readonly #places: readonly Place[]
  readonly #runs: readonly Place[]
  readonly #last = new Map<Place, readonly ModelSource[]>()
  /** Names of models -> where they were found: they keep their names against others of the same. */
  #owners = new Map<string, string>()

  constructor(places: readonly Place[], runs: readonly Place[] = []) {
    this.#places = places
    this.#runs = runs
  }

  async scan(dataFilesOf: DataFilesOf = () => []): Promise<Scan> {
    const problems: InputError[] = []
    const look = async (place: Place, scan: (place: Place, of: DataFilesOf) => Promise<ModelSource[]>) => {
      try {
        this.#last.set(place, await scan(place, dataFilesOf))
      } catch (error) {
        problems.push(
          error instanceof InputError ? error : new InputError(messageOf(error), { cause: error }),
        )
      }
      return this.#last.get(place) ?? []
    }
    const found = await Promise.all([
      ...this.#places.map(place => look(place, scanPlace)),
      ...this.#runs.map(place => look(place, scanRun)),
    ])
    return { models: this.#named(found.flat(), problems), problems }
  }

  /** Of two models of one name, the one that had it. */
  #named(models: readonly ModelSource[], problems: InputError[]): ModelSource[] {
    const named = new Map<string, ModelSource>()
    for (const model of models) {
      const other = named.get(model.name)
      if (other) {
        problems.push(
          new InputError(`serve: two models have the name ${model.name}`, {
            cure: 'name one of them: swa-onnx serve other-name=path',
          }),
        )
      }
      if (!other || model.place === this.#owners.get(model.name)) named.set(model.name, model)
    }
    this.#owners = new Map([...named].map(([name, model]) => [name, model.place]))
    return [...named.values()]
  }
}

async function scanPlace({ path, name }: Place, dataFilesOf: DataFilesOf): Promise<ModelSource[]> {
  const entry = await stat(path).catch((error: unknown) => {
    throw new InputError(`serve ${path}: ${messageOf(error)}`, { cause: error })
  })
  return entry.isDirectory()
    ? scanFolder(path, name, dataFilesOf)
    : [await singleFile(path, name ?? nameFrom(stem(path)), dataFilesOf)]
}

/** Every entry for itself: one that is new or strange changes nothing for the others. */
async function scanFolder(
  path: string,
  name: string | null,
  dataFilesOf: DataFilesOf,
): Promise<ModelSource[]> {
  const entries = await readdir(path, { withFileTypes: true })
  const files = entries.filter(isModelFile)
  const folders = entries.filter(
    entry => !entry.isFile() && isModelName(entry.name) && !entry.name.startsWith('.'),
  )
  const own = name ?? nameFrom(basename(resolve(path)))
  const [self, models] = await Promise.all([
    modelFolder(path, own, dataFilesOf),
    Promise.all(folders.map(folder => modelFolder(join(path, folder.name), folder.name, dataFilesOf))),
  ])
  const versioned = [self, ...models].filter(model => model !== null)
  const alone = files.length === 1 && versioned.length === 0
  const singles = files.map(file => {
    const ownName = file.name === 'model.onnx' || (alone && name !== null)
    return singleFile(join(path, file.name), ownName ? own : nameFrom(stem(file.name)), dataFilesOf)
  })
  return [...(await Promise.all(singles)), ...versioned]
}

function isModelFile(entry: Dirent): boolean {
  return entry.name.endsWith('.onnx') && !entry.name.startsWith('.') && !entry.isDirectory()
}

/** A file that is replaced stays version 1: clients that name it go on. */
async function singleFile(path: string, name: string, dataFilesOf: DataFilesOf): Promise<ModelSource> {
  const labels = `${stem(basename(path))}.labels.txt`
  const version = await versionSource('1', path, { folders: [dirname(path)], labels, dataFilesOf })
  return { name, place: path, versions: version ? [version] : [], config: null }
}

/** The average of a run that goes on, or of one that has ended; its version is the step of its last snapshot. */
async function scanRun({ path, name }: Place, dataFilesOf: DataFilesOf): Promise<ModelSource[]> {
  const entry = await stat(path).catch((error: unknown) => {
    throw new InputError(`serve --watch ${path}: ${messageOf(error)}`, { cause: error })
  })
  if (!entry.isDirectory()) throw new InputError(`serve --watch ${path}: expected the folder of a run`)
  const model = ['averaged.onnx', 'current.onnx'].map(file => join(path, file)).find(existsSync)
  const version = model && (await lastSnapshot(model))
  const beside = { folders: [path], labels: 'labels.txt', dataFilesOf }
  const source = version && (await versionSource(version, model, beside))
  const own = name ?? nameFrom(basename(resolve(path)))
  return [{ name: own, place: path, versions: source ? [source] : [], config: null }]
}

/** The last of the steps that a model of a run says it is made of; null while somebody writes it. */
async function lastSnapshot(path: string): Promise<string | null> {
  const file = await loadModel(path).catch(() => null)
  if (file === null) return null
  try {
    const steps = JSON.parse(file.model.metadata.get('swa_onnx.snapshots') ?? '[]') as readonly number[]
    return String(Math.max(0, ...steps))
  } catch {
    return '0'
  } finally {
    await file.close()
  }
}

async function modelFolder(
  folder: string,
  name: string,
  dataFilesOf: DataFilesOf,
): Promise<ModelSource | null> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const configured = join(folder, 'config.pbtxt')
  const config = existsSync(configured) ? configured : null
  const versions = await Promise.all(
    entries
      .filter(entry => isVersion(entry.name) && !entry.isFile())
      .map(async entry => {
        const inside = join(folder, entry.name)
        const file = await onnxFileIn(inside)
        const beside = { folders: [inside, folder], labels: 'labels.txt', dataFilesOf, config }
        return file === null ? null : versionSource(entry.name, file, beside)
      }),
  )
  const found = versions.filter(version => version !== null)
  return found.length === 0 ? null : { name, place: folder, versions: found, config }
}

/** model.onnx, or the only ONNX file. */
async function onnxFileIn(folder: string): Promise<string | null> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((): Dirent[] => [])
  const files = entries.filter(isModelFile).map(({ name }) => name)
  const file = files.includes('model.onnx') ? 'model.onnx' : files.length === 1 ? files[0] : undefined
  return file === undefined ? null : join(folder, file)
}

interface Beside {
  /** Where labels and tokenizers may be, the first first. */
  readonly folders: readonly string[]
  /** The model's own file of labels; `labels.txt` will do too. */
  readonly labels: string
  readonly dataFilesOf: DataFilesOf
  readonly config?: string | null
}

async function versionSource(
  version: string,
  path: string,
  { folders, labels, dataFilesOf, config = null }: Beside,
): Promise<VersionSource | null> {
  const find = (name: string) => folders.map(folder => join(folder, name)).find(existsSync) ?? null
  const names = find(labels) ?? find('labels.txt')
  const tokenizer = find('tokenizer.json')
  const own = [config, names, tokenizer].filter(file => file !== null)
  const file = await stampOf([path])
  if (file === '') return null
  // The usual names of data files, before anybody has looked into the model.
  const others = await stampOf([`${path}.data`, `${path}_data`, ...manifestsOf(path), ...own])
  const stamp = await withDataFiles(`${file}|${others}`, dataFilesOf(path))
  return { version, path, stamp, labels: names, tokenizer: tokenizer && dirname(tokenizer) }
}

/** The stamp of a version that is known to have these data files. */
export async function withDataFiles(stamp: string, files: readonly string[]): Promise<string> {
  return files.length === 0 ? stamp : `${stamp}|${await stampOf(files)}`
}

/** What lies beside a model that could not be loaded, other models left out: it may be what the model lacks. */
export async function stampBeside(path: string): Promise<string> {
  const folder = dirname(path)
  const names = await readdir(folder).catch((): string[] => [])
  return stampOf(
    names
      .filter(name => !name.endsWith('.onnx'))
      .sort()
      .map(name => join(folder, name)),
  )
}

/** Changes whenever one of the files does, links followed; nothing for one that is not there. */
async function stampOf(paths: readonly string[]): Promise<string> {
  const stamps = await Promise.all(
    paths.map(async path => {
      try {
        const target = await realpath(path)
        const { dev, ino, size, mtimeNs } = await stat(target, { bigint: true })
        return `${target}:${dev}:${ino}:${size}:${mtimeNs}`
      } catch {
        return ''
      }
    }),
  )
  return stamps.join('|')
}

/** Where the record of a model may lie that says how large its files are and what their checksums. */
export function manifestsOf(path: string): string[] {
  return [`${path.replace(/\.onnx$/, '')}.manifest.json`, join(dirname(path), 'manifest.json')]
}

function stem(path: string): string {
  return basename(path).replace(/\.onnx$/, '')
}
