/**
 * Whether the device still computes: a version that has answered nothing for a while is given the sample that it was
 * tried with. A driver that fails or hangs shows in the server's readiness before a client finds it.
 */

import type { ServedVersion } from './repository/served-version.ts'

export interface DeviceHealthOptions {
  /** Milliseconds in which a sample must come back, and a run must end. */
  readonly timeout: number
  /** Called when a version's health changes. */
  readonly changed: (version: ServedVersion, error: Error | null) => void
}

export class DeviceHealth {
  readonly #versions: () => readonly ServedVersion[]
  readonly #options: DeviceHealthOptions
  readonly #sick = new Set<ServedVersion>()
  readonly #answered = new WeakMap<ServedVersion, number>()

  constructor(versions: () => readonly ServedVersion[], options: DeviceHealthOptions) {
    this.#versions = versions
    this.#options = options
  }

  healthy(version: ServedVersion): boolean {
    return !this.#sick.has(version)
  }

  /** Whether all versions in service are. */
  get good(): boolean {
    return this.#versions().every(version => this.healthy(version))
  }

  /** One look at all versions; those that have answered since the last one need none. */
  async look(): Promise<void> {
    const versions = this.#versions()
    for (const version of this.#sick) if (!versions.includes(version)) this.#sick.delete(version)
    await Promise.all(versions.map(version => this.#check(version)))
  }

  async #check(version: ServedVersion): Promise<void> {
    const { scheduler, statistics } = version
    const { count } = statistics.success
    const answered = count !== (this.#answered.get(version) ?? 0)
    this.#answered.set(version, count)
    const late = scheduler.longestRun
    if (late > this.#options.timeout)
      this.#set(version, new Error(`a run takes ${Math.round(late / 1000)} s`))
    else if (answered) this.#set(version, null)
    // Behind others the sample would only wait.
    else if (scheduler.pending === 0) this.#set(version, await this.#try(version))
  }

  async #try(version: ServedVersion): Promise<Error | null> {
    try {
      await version.test(this.#options.timeout)
      return null
    } catch (error) {
      return error as Error
    }
  }

  #set(version: ServedVersion, error: Error | null): void {
    if (this.healthy(version) === (error === null)) return
    if (error === null) this.#sick.delete(version)
    else this.#sick.add(version)
    this.#options.changed(version, error)
  }
}
