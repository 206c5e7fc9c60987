/** Which version is tried when the versions in service change. */

import type { PageModel } from '../http/page-messages.ts'
import { versionKey } from './traffic-history.ts'

/** The same version, else the latest of the same model, else the first of all; null where none is in service. */
export function successorOf<M extends Pick<PageModel, 'name' | 'version'>>(
  chosen: Pick<PageModel, 'name' | 'version'> | null,
  models: readonly M[],
): M | null {
  const same = models.find(model => chosen !== null && versionKey(model) === versionKey(chosen))
  const latest = models
    .filter(({ name }) => name === chosen?.name)
    .sort((a, b) => Number(b.version) - Number(a.version))[0]
  return same ?? latest ?? models[0] ?? null
}
