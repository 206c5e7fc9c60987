/**
 * What lies in the files and folders that are served. A folder is a repository in Triton's layout
 * (`model/version/model.onnx`), one model of it, or holds ONNX files, each of which is a model.
 */

import { existsSync } from 'node:fs'
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

/** All models of all places, and those of runs; a name that two of them have is an error. */
export async function scanPlaces(
  places: readonly Place[],
  runs: readonly Place[] = [],
): Promise<ModelSource[]> {
  const models = (await Promise.all([...places.map(scanPlace), ...runs.map(scanRun)])).flat()
  const seen = new Set<string>()
  for (const { name } of models) {
    if (seen.has(name)) {
      throw new InputError(`serve: two models have the name ${name}`, {
        cure: 'name one of them: swa-onnx serve other-name=path',
      })
    }
    seen.add(name)
  }
  return models
}

async function scanPlace({ path, name }: Place): Promise<ModelSource[]> {
  const entry = await stat(path).catch((error: unknown) => {
    throw new InputError(`serve ${path}: ${messageOf(error)}`, { cause: error })
  })
  if (!entry.isDirectory()) return [await singleFile(path, name ?? nameFrom(stem(path)))]
  const entries = await readdir(path, { withFileTypes: true })
  if (entries.some(({ name }) => isVersion(name))) {
    const model = await modelFolder(path, name ?? nameFrom(basename(resolve(path))))
    return model ? [model] : []
  }
  const files = entries.filter(entry => entry.name.endsWith('.onnx') && !entry.name.startsWith('.'))
  if (files.length > 0) {
    return Promise.all(
      files.map(file => {
        const alone = files.length === 1
        const own = alone && file.name === 'model.onnx' ? basename(resolve(path)) : stem(file.name)
        return singleFile(join(path, file.name), alone && name !== null ? name : nameFrom(own))
      }),
    )
  }
  const folders = entries.filter(({ name }) => isModelName(name) && !name.startsWith('.'))
  const models = await Promise.all(folders.map(folder => modelFolder(join(path, folder.name), folder.name)))
  return models.filter(model => model !== null)
}

/** A file that is replaced stays version 1: clients that name it go on. */
async function singleFile(path: string, name: string): Promise<ModelSource> {
  const version = await versionSource('1', path, [dirname(path)], `${stem(basename(path))}.labels.txt`)
  return { name, versions: version ? [version] : [], config: null }
}

/** The average of a run that goes on, or of one that has ended; its version is the step of its last snapshot. */
async function scanRun({ path, name }: Place): Promise<ModelSource[]> {
  const entry = await stat(path).catch((error: unknown) => {
    throw new InputError(`serve --watch ${path}: ${messageOf(error)}`, { cause: error })
  })
  if (!entry.isDirectory()) throw new InputError(`serve --watch ${path}: expected the folder of a run`)
  const model = ['averaged.onnx', 'current.onnx'].map(file => join(path, file)).find(existsSync)
  const version = model && (await lastSnapshot(model))
  const source = version && (await versionSource(version, model, [path], 'labels.txt'))
  return [{ name: name ?? nameFrom(basename(resolve(path))), versions: source ? [source] : [], config: null }]
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

async function modelFolder(folder: string, name: string): Promise<ModelSource | null> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const configured = join(folder, 'config.pbtxt')
  const config = existsSync(configured) ? configured : null
  const versions = await Promise.all(
    entries
      .filter(entry => isVersion(entry.name) && !entry.isFile())
      .map(async entry => {
        const inside = join(folder, entry.name)
        const file = await onnxFileIn(inside)
        return file === null ? null : versionSource(entry.name, file, [inside, folder], 'labels.txt', config)
      }),
  )
  const found = versions.filter(version => version !== null)
  return found.length === 0 ? null : { name, versions: found, config }
}

/** model.onnx, or the only ONNX file. */
async function onnxFileIn(folder: string): Promise<string | null> {
  const names = await readdir(folder).catch((): string[] => [])
  const files = names.filter(name => name.endsWith('.onnx') && !name.startsWith('.'))
  const file = files.includes('model.onnx') ? 'model.onnx' : files.length === 1 ? files[0] : undefined
  return file === undefined ? null : join(folder, file)
}

async function versionSource(
  version: string,
  path: string,
  folders: readonly string[],
  labels: string,
  config: string | null = null,
): Promise<VersionSource | null> {
  const find = (name: string) => folders.map(folder => join(folder, name)).find(existsSync) ?? null
  const names = find(labels) ?? find('labels.txt')
  const tokenizer = find('tokenizer.json')
  const beside = [config, names, tokenizer].filter(file => file !== null)
  const stamp = await stampOf(path, beside)
  if (stamp === null) return null
  return { version, path, stamp, labels: names, tokenizer: tokenizer && dirname(tokenizer) }
}

/** Of the file, its data file, its manifest and what else belongs to it, links followed; null where there is no file. */
async function stampOf(path: string, beside: readonly string[]): Promise<string | null> {
  const names = [path, `${path}.data`, ...manifestsOf(path), ...beside]
  const stamps = await Promise.all(
    names.map(async name => {
      try {
        const target = await realpath(name)
        const { dev, ino, size, mtimeNs } = await stat(target, { bigint: true })
        return `${target}:${dev}:${ino}:${size}:${mtimeNs}`
      } catch {
        return ''
      }
    }),
  )
  return stamps[0] === '' ? null : stamps.join('|')
}

/** Where the record of a model may lie that says how large its files are and what their checksums. */
export function manifestsOf(path: string): string[] {
  return [path.replace(/\.onnx$/, '.manifest.json'), join(dirname(path), 'manifest.json')]
}

function stem(path: string): string {
  return basename(path).replace(/\.onnx$/, '')
}
