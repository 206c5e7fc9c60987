/** Checks of the output path before the work begins, so that an hour's work never ends in a refusal. */

import { existsSync, realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { EnvironmentError, UsageError } from '../util/errors.ts'
import { isUrl, nameOf } from '../util/location.ts'

/** What yargs makes of OUTPUT_OPTIONS. */
export interface OutputArguments {
  readonly out: string
  readonly force: boolean
}

/** Refuses an output that is a URL, that exists (unless forced), that is one of the inputs, or whose folder does not. */
export function checkOutput({ out, force }: OutputArguments, inputs: readonly string[]): void {
  if (isUrl(out))
    throw new UsageError(`--out: expected the path of a local file, found the URL ${nameOf(out)}`, {
      cure: 'write a local file, and upload it afterwards',
    })
  const same = inputs.find(input => placeOf(input) === placeOf(out))
  if (same !== undefined) throw new UsageError(`--out: ${out} is an input`, { cure: 'name another file' })
  const folder = dirname(out)
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new EnvironmentError(`--out: there is no folder ${folder}`, { cure: 'create the folder first' })
  }
  if (!existsSync(out)) return
  if (statSync(out).isDirectory())
    throw new UsageError(`--out: ${out} is a folder, expected the name of a file`)
  if (!force)
    throw new UsageError(`--out: ${out} exists`, { cure: 'name another file, or overwrite it with --force' })
}

/** Where a path leads, links followed as far as there is a file. */
function placeOf(path: string): string {
  return existsSync(path) ? realpathSync(path) : resolve(path)
}
