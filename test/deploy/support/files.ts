/** The files of tools/deploy, and what this package says of itself. */

import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseAllDocuments } from 'yaml'

export const root = resolve(import.meta.dirname, '../../..')
export const folder = join(root, 'tools/deploy')

export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string
  readonly bin: Readonly<Record<string, string>>
}

/** The text of a file in tools/deploy. */
export function read(name: string): string {
  return readFileSync(join(folder, name), 'utf8')
}

/** The documents of a YAML file; what is doubtful in it is an error. */
export function readYaml(name: string, text = read(name)): unknown[] {
  return parseAllDocuments(text, { prettyErrors: true }).map(document => {
    const problems = [...document.errors, ...document.warnings].map(({ message }) => message)
    if (problems.length > 0) throw new Error(`${name}: ${problems.join('; ')}`)
    return document.toJS() as unknown
  })
}
