/** A model under its name: its versions, what became of each, and which of them answers. */

import { ServeError, quoted } from '../protocol/errors.ts'
import type { IndexEntry } from '../protocol/schemas.ts'
import { PLAIN, Share, type Routing } from './routing.ts'
import type { ServedVersion } from './served-version.ts'
import { compareVersions } from './settings.ts'

export type VersionState = 'LOADING' | 'READY' | 'UNLOADING' | 'UNAVAILABLE'

export class ServedModel {
  readonly name: string
  readonly routing: Routing
  readonly #share: Share
  /** Versions in service. */
  readonly #versions = new Map<string, ServedVersion>()
  readonly #states = new Map<string, { readonly state: VersionState; readonly reason: string }>()
  #wasServed = false

  constructor(name: string, routing: Routing = PLAIN) {
    this.name = name
    this.routing = routing
    this.#share = new Share(routing.canary?.percent ?? 0)
  }

  /** Versions in service, the latest last. */
  get versions(): ServedVersion[] {
    return [...this.#versions.values()].sort((a, b) => compareVersions(a.version, b.version))
  }

  get ready(): boolean {
    return this.versions.some(({ ready }) => ready)
  }

  /** Whether a version of it has been in service: one that is still to come makes nobody wait. */
  get wasServed(): boolean {
    return this.#wasServed
  }

  get(version: string): ServedVersion | undefined {
    return this.#versions.get(version)
  }

  /** Puts a version into service, in place of one of the same name. */
  put(version: ServedVersion): void {
    this.#versions.set(version.version, version)
    this.#wasServed = true
    this.setState(version.version, 'READY')
  }

  /** Takes a version out of service, if it is still this one. */
  remove(version: ServedVersion): void {
    if (this.#versions.get(version.version) === version) this.#versions.delete(version.version)
  }

  setState(version: string, state: VersionState, reason = ''): void {
    this.#states.set(version, { state, reason })
  }

  /** Forgets versions that are neither in service nor on disk. */
  keep(onDisk: ReadonlySet<string>): void {
    for (const [version, { state }] of this.#states) {
      if (!onDisk.has(version) && !this.#versions.has(version) && state !== 'UNLOADING') {
        this.#states.delete(version)
      }
    }
  }

  /** The version for a request; `wanted` null: the routing decides. */
  pick(wanted: string | null): ServedVersion {
    if (wanted !== null) {
      const version = this.#versions.get(wanted)
      if (version) return version
      throw new ServeError(
        'notFound',
        `Request for unknown model: ${quoted(this.name)} version ${wanted} is not found`,
      )
    }
    const { canary } = this.routing
    const stable = this.stable()
    const trial = canary && this.#versions.get(canary.version)
    if (trial?.ready && this.#share.next()) return trial
    if (stable) return stable
    throw new ServeError('unavailable', `model ${quoted(this.name)} has no version in service`, {
      retryAfter: 1,
    })
  }

  /** The latest version that is no canary and no shadow; where there is no other, the latest. */
  stable(): ServedVersion | undefined {
    const { canary, shadow } = this.routing
    const versions = this.versions
    const settled = versions.filter(({ version }) => version !== canary?.version && version !== shadow)
    const candidates = settled.length > 0 ? settled : versions
    return candidates.filter(({ ready }) => ready).at(-1) ?? candidates.at(-1)
  }

  /** The version that computes a request beside the one that answers it. */
  shadowOf(answering: ServedVersion): ServedVersion | undefined {
    const { shadow } = this.routing
    if (shadow === null || shadow === answering.version) return undefined
    return this.#versions.get(shadow)
  }

  index(): IndexEntry[] {
    return [...this.#states]
      .sort(([a], [b]) => compareVersions(a, b))
      .map(([version, { state, reason }]) => ({ name: this.name, version, state, reason }))
  }
}
