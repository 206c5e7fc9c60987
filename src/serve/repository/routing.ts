/** Which version answers requests that name none: the latest, a canary for a share of them, and a shadow beside it. */

import { UsageError } from '../../util/errors.ts'
import { isModelName, isVersion } from './names.ts'

export interface Routing {
  /** A version that answers a share of the requests. */
  readonly canary: { readonly version: string; readonly percent: number } | null
  /** A version that computes every request too, and whose answers are only compared. */
  readonly shadow: string | null
}

export const PLAIN: Routing = { canary: null, shadow: null }

/** `--canary model:version=percent` and `--shadow model:version`. */
export function parseRouting(canaries: readonly string[], shadows: readonly string[]): Map<string, Routing> {
  const routing = new Map<string, Routing>()
  const add = (model: string, part: Partial<Routing>) =>
    routing.set(model, { ...(routing.get(model) ?? PLAIN), ...part })
  for (const text of canaries) {
    const [, model = '', version = '', percent = ''] = /^(.+):(.+)=(\d+(?:\.\d+)?)%?$/.exec(text) ?? []
    if (!isModelName(model) || !isVersion(version) || !(Number(percent) <= 100)) {
      throw new UsageError(`--canary: expected model:version=percent, found "${text}"`, {
        cure: 'for example --canary digits:3=10',
      })
    }
    add(model, { canary: { version, percent: Number(percent) } })
  }
  for (const text of shadows) {
    const [, model = '', version = ''] = /^(.+):(.+)$/.exec(text) ?? []
    if (!isModelName(model) || !isVersion(version)) {
      throw new UsageError(`--shadow: expected model:version, found "${text}"`, {
        cure: 'for example --shadow digits:3',
      })
    }
    add(model, { shadow: version })
  }
  return routing
}

/** Deals out a share evenly: of ten requests with 30 %, the 4th, 7th and 10th. */
export class Share {
  readonly #percent: number
  #saved = 0

  constructor(percent: number) {
    this.#percent = percent
  }

  next(): boolean {
    this.#saved += this.#percent
    if (this.#saved < 100 - 1e-9) return false
    this.#saved -= 100
    return true
  }
}
