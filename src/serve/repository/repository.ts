/**
 * The models in service, kept as the disk says: a new version is loaded and tried before the old one is drained, and what
 * cannot be loaded changes nothing.
 */

import { dirname, resolve, sep } from 'node:path'
import { messageOf } from '../../util/errors.ts'
import { quoted, ServeError } from '../protocol/errors.ts'
import type { IndexEntry } from '../protocol/schemas.ts'
import { loadVersion, type LoadContext } from './load.ts'
import { checkModelName } from './names.ts'
import type { Routing } from './routing.ts'
import { ServedModel } from './served-model.ts'
import type { ServedVersion } from './served-version.ts'
import { chooseVersions, type ModelSettings, type VersionPolicy } from './settings.ts'
import { stampBeside, type ModelSource, type Places, type Scan, type VersionSource } from './sources.ts'
import { checkConfiguredPorts, readTritonConfig } from './triton-config.ts'

export interface RepositoryOptions {
  readonly engine: LoadContext['engine']
  readonly settings: ModelSettings
  readonly policy: VersionPolicy
  readonly routing: ReadonlyMap<string, Routing>
  readonly places: Places
  /** Milliseconds that a version is given to finish its requests. */
  readonly drain: number
  readonly events: RepositoryEvents
}

export interface RepositoryEvents {
  readonly loading: (model: string, version: string) => void
  readonly loaded: (version: ServedVersion, ms: number) => void
  readonly failed: (model: string, version: string, error: unknown) => void
  readonly unloaded: (model: string, version: string) => void
  /** What could not be looked at, told when it changes. */
  readonly problems: (errors: readonly Error[]) => void
  readonly ofVersion: (model: string) => LoadContext['events']
}

/** How a model is to be run. */
interface Configuration {
  readonly settings: ModelSettings
  readonly policy: VersionPolicy | null
  readonly labels: string | null
  readonly check: LoadContext['check']
}

export class Repository {
  readonly #options: RepositoryOptions
  readonly #models = new Map<string, ServedModel>()
  /** Model and version -> the stamp of files that could not be loaded: they are not tried again until they change. */
  readonly #refused = new Map<string, string>()
  /** What was wrong at the last look; null: there was none. */
  #problems: string | null = null
  /** The stamps of the last look: files that still change are being written. */
  readonly #seen = new Map<string, string>()
  /** Models that a client unloaded: they stay so until one loads them. */
  readonly #unloaded = new Set<string>()
  #work: Promise<unknown> = Promise.resolve()
  readonly #retiring = new Set<Promise<void>>()

  constructor(options: RepositoryOptions) {
    this.#options = options
  }

  get models(): ServedModel[] {
    return [...this.#models.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** `model:version` of all that lay there at the last look. */
  get found(): string[] {
    return [...this.#seen.keys()]
  }

  /** Whether every model that has been in service has a version that can answer. */
  get ready(): boolean {
    const served = this.models.filter(({ wasServed }) => wasServed)
    const able = served.every(({ ready, name }) => ready || this.#unloaded.has(name))
    return able && (served.length > 0 || this.models.length === 0)
  }

  model(name: string): ServedModel {
    const model = this.#models.get(checkModelName(name))
    if (model) return model
    throw new ServeError('notFound', `Request for unknown model: ${quoted(name)} is not found`)
  }

  index(readyOnly: boolean): IndexEntry[] {
    const entries = this.models.flatMap(model => model.index())
    return readyOnly ? entries.filter(({ state }) => state === 'READY') : entries
  }

  /** Brings what is served to what lies on disk. One call waits for the other. */
  update(): Promise<void> {
    return this.#inTurn(async () => {
      const { models, problems } = await this.#scan()
      this.#tell(problems)
      const sources = this.#settled(models)
      for (const source of sources) if (!this.#unloaded.has(source.name)) await this.#updateModel(source)
      const names = new Set(sources.map(({ name }) => name))
      for (const model of this.models) if (!names.has(model.name)) this.#removeModel(model)
    })
  }

  /** Loads a model, or loads it again as it lies on disk; fails where nothing of it can be loaded. */
  load(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const { models } = await this.#scan()
      const source = models.find(source => source.name === checkModelName(name))
      if (!source)
        throw new ServeError('notFound', `failed to load ${quoted(name)}: no such model in the repository`)
      this.#unloaded.delete(name)
      for (const { version } of source.versions) this.#refused.delete(`${name}:${version}`)
      const failure = await this.#updateModel(source)
      if (failure !== null) throw new ServeError('invalid', `failed to load ${quoted(name)}: ${failure}`)
    })
  }

  /** Takes a model out of service. */
  unload(name: string): Promise<void> {
    return this.#inTurn(() => {
      const model = this.model(name)
      this.#unloaded.add(name)
      for (const version of model.versions) this.#retire(model, version, 'unloaded')
      return Promise.resolve()
    })
  }

  /** Drains everything. */
  async close(): Promise<void> {
    await this.#inTurn(() => {
      for (const model of this.models) {
        for (const version of model.versions) this.#retire(model, version, 'the server is shutting down')
      }
      return Promise.resolve()
    })
    await Promise.all(this.#retiring)
  }

  #scan(): Promise<Scan> {
    const versions = this.models.flatMap(model => model.versions)
    const dataFiles = new Map(versions.map(({ facts }) => [facts.source.path, facts.dataFiles]))
    return this.#options.places.scan(path => dataFiles.get(path) ?? [])
  }

  /** At first, what cannot be served is an error; afterwards nothing of it may stop the rest. */
  #tell(problems: Scan['problems']): void {
    const [first] = problems
    if (this.#problems === null && first) throw first
    const text = problems.map(({ message }) => message).join()
    if (text !== (this.#problems ?? '')) this.#options.events.problems(problems)
    this.#problems = text
  }

  /** Files that changed since the last look are taken for what they were then: somebody may be writing them. */
  #settled(sources: readonly ModelSource[]): ModelSource[] {
    const last = new Map(this.#seen)
    this.#seen.clear()
    const settled = sources.map(source => ({
      ...source,
      versions: source.versions.flatMap(found => {
        const key = `${source.name}:${found.version}`
        this.#seen.set(key, found.stamp)
        if (last.size === 0 || last.get(key) === found.stamp) return [found]
        return this.#models.get(source.name)?.get(found.version)?.facts.source ?? []
      }),
    }))
    for (const key of this.#refused.keys()) if (!this.#seen.has(key)) this.#refused.delete(key)
    return settled
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#work.then(work, work)
    this.#work = result.catch(() => undefined)
    return result
  }

  /** The reason why a version could not be loaded; null where all could. */
  async #updateModel(source: ModelSource): Promise<string | null> {
    const { routing } = this.#options
    const known = this.#models.get(source.name)
    const model = known ?? new ServedModel(source.name, routing.get(source.name))
    this.#models.set(source.name, model)
    model.keep(new Set(source.versions.map(({ version }) => version)))
    const configured = await this.#configOf(source).catch((error: unknown) => error as Error)
    if (configured instanceof Error) return this.#refuseConfiguration(model, source, configured)
    const wanted = this.#wantedOf(source, model.routing, configured.policy ?? this.#options.policy)
    let failure: string | null = null
    for (const version of wanted) {
      const served = model.get(version.version)
      if (served?.facts.source.stamp === version.stamp) continue
      const previous = served ?? model.stable() ?? null
      const error = await this.#tryVersion(model, version, previous, configured)
      failure ??= error
    }
    // Old versions go when all new ones are there; nothing to serve is no reason to stop.
    const complete = wanted.length > 0 && wanted.every(({ version }) => model.get(version) !== undefined)
    const names = new Set(wanted.map(({ version }) => version))
    if (complete) {
      for (const version of model.versions) {
        if (!names.has(version.version)) this.#retire(model, version, 'replaced')
      }
    }
    return failure
  }

  async #configOf({ name, config }: ModelSource): Promise<Configuration> {
    const { settings } = this.#options
    if (config === null) return { settings, policy: null, labels: null, check: () => undefined }
    const configured = await readTritonConfig(config, name, settings)
    return { ...configured, check: signature => checkConfiguredPorts(configured, signature) }
  }

  /** A configuration that cannot be used: what is served stays. */
  #refuseConfiguration(model: ServedModel, source: ModelSource, error: Error): string {
    const reason = reasonOf(error, source.place)
    const served = model.versions.map(({ version }) => version)
    const wanted = this.#wantedOf(source, model.routing, this.#options.policy)
    const concerned = served.length > 0 ? source.versions.filter(one => served.includes(one.version)) : wanted
    for (const { version, stamp } of concerned) {
      const key = `${model.name}:${version}`
      if (this.#refused.get(key) === stamp) continue
      this.#refused.set(key, stamp)
      model.setState(version, model.get(version) ? 'READY' : 'UNAVAILABLE', reason)
      this.#options.events.failed(model.name, version, error)
    }
    return reason
  }

  #wantedOf(source: ModelSource, { canary, shadow }: Routing, policy: VersionPolicy): VersionSource[] {
    const own = source.versions.map(({ version }) => version)
    const named = [canary?.version, shadow].filter(version => version !== undefined && version !== null)
    const others = own.filter(version => !named.includes(version))
    const chosen = new Set([...chooseVersions(others.length > 0 ? others : own, policy), ...named])
    return source.versions.filter(({ version }) => chosen.has(version))
  }

  async #tryVersion(
    model: ServedModel,
    source: VersionSource,
    previous: ServedVersion | null,
    { settings, labels, check }: Configuration,
  ): Promise<string | null> {
    const { engine, events } = this.#options
    const key = `${model.name}:${source.version}`
    const before = model.get(source.version)
    const refused = this.#refused.get(key)
    const stamp = refused === undefined ? '' : await refusedStamp(source)
    if (refused === stamp) return 'its files have not changed since they were refused'
    const started = performance.now()
    events.loading(model.name, source.version)
    if (!before) model.setState(source.version, 'LOADING')
    try {
      const context = { engine, settings, previous, check, events: events.ofVersion(model.name) }
      const version = await loadVersion(model.name, { ...source, labels: labels ?? source.labels }, context)
      this.#refused.delete(key)
      model.put(version)
      events.loaded(version, performance.now() - started)
      if (before) this.#retireUnnamed(before)
      return null
    } catch (error) {
      this.#refused.set(key, await refusedStamp(source))
      events.failed(model.name, source.version, error)
      const reason = reasonOf(error, dirname(source.path))
      if (before) model.setState(source.version, 'READY', `a new file could not be loaded: ${reason}`)
      else model.setState(source.version, 'UNAVAILABLE', reason)
      return reason
    }
  }

  #retire(model: ServedModel, version: ServedVersion, reason: string): void {
    model.remove(version)
    model.setState(version.version, 'UNLOADING', reason)
    this.#finish(version, () => {
      // It may be back in service by now.
      if (model.get(version.version)) return
      model.setState(version.version, 'UNAVAILABLE', reason)
      this.#options.events.unloaded(version.name, version.version)
    })
  }

  /** One that another of the same name has replaced. */
  #retireUnnamed(version: ServedVersion): void {
    this.#finish(version, () => undefined)
  }

  #finish(version: ServedVersion, then: () => void): void {
    const retiring = version.retire(this.#options.drain).then(then)
    this.#retiring.add(retiring)
    void retiring.finally(() => this.#retiring.delete(retiring))
  }

  #removeModel(model: ServedModel): void {
    for (const version of model.versions) this.#retire(model, version, 'its files are gone')
    this.#models.delete(model.name)
    this.#unloaded.delete(model.name)
  }
}

/** Of a version that was refused; a file beside the model may be what it lacked. */
async function refusedStamp({ stamp, path }: VersionSource): Promise<string> {
  return `${stamp}|${await stampBeside(path)}`
}

/**
 * Folders before the name of a file: from a root, or from where the server was started. Between two plain words a slash
 * makes no path: `N/A`, `float16/float32`.
 */
const FOLDERS =
  /(?:file:\/\/)?(?:[A-Za-z]:(?=[\\/]))?(?:[^\s:'"()[\],=]*[\\/])+(?=[^\s:'"()[\],=\\/]*\.[A-Za-z])/g
const ROOTED = /(?:file:\/\/|[A-Za-z]:\\|(?<![\w.])\.{0,2}\/)[^\s:'"]*[\\/]/g

/** Why a model of this place could not be loaded, without paths. */
export function reasonOf(error: unknown, place = ''): string {
  // A place is known whatever its name is; others are found by their form.
  const known = [place, resolve(place)].flatMap(path => [`${dirname(path)}${sep}`, `${path}${sep}`])
  const plain = known
    .filter(folder => folder !== `.${sep}` && folder !== sep)
    .reduce((text, folder) => text.replaceAll(folder, ''), messageOf(error))
  return plain.replace(FOLDERS, '').replace(ROOTED, '').replace(/\s+/g, ' ').slice(0, 300)
}
