/** How models are run, as a person may set it for all of them, and a model's own config.pbtxt for itself. */

export interface ModelSettings {
  /** Samples of a run at most; null: measured when the model is loaded. 1 switches batching off. */
  readonly maxBatch: number | null
  /** Milliseconds that a request may wait for others to share its run. */
  readonly maxDelay: number
  /** Requests that may wait. */
  readonly maxQueue: number
  /** Sessions of each version; null: measured. */
  readonly instances: number | null
  /** Threads of each session; null: measured. */
  readonly threads: number | null
  /** Milliseconds after which a request is given up. */
  readonly timeout: number
}

export const DEFAULT_SETTINGS: ModelSettings = {
  maxBatch: null,
  maxDelay: 0,
  maxQueue: 256,
  instances: null,
  threads: null,
  timeout: 30_000,
}

/** Which versions of a model are served. */
export type VersionPolicy =
  | { readonly kind: 'latest'; readonly count: number }
  | { readonly kind: 'all' }
  | { readonly kind: 'specific'; readonly versions: readonly string[] }

/** Versions as numbers where both are, else as texts; the latest last. */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [Number(a), Number(b)]
  if (Number.isFinite(x) && Number.isFinite(y)) return x - y
  return a < b ? -1 : a > b ? 1 : 0
}

/** The versions that a policy chooses, the latest last. */
export function chooseVersions(versions: readonly string[], policy: VersionPolicy): string[] {
  const sorted = [...versions].sort(compareVersions)
  if (policy.kind === 'all') return sorted
  if (policy.kind === 'latest') return sorted.slice(-policy.count)
  return sorted.filter(version => policy.versions.includes(version))
}
