/** What yargs makes something of instead of a complaint: options without their value, and switches with one that is none. */

import type { Argv } from 'yargs'
import { UsageError } from '../util/errors.ts'

/** What yargs knows of the options of a command. */
interface KnownOptions {
  readonly key: Readonly<Record<string, unknown>>
  readonly alias: Readonly<Record<string, readonly string[]>>
  readonly boolean: readonly string[]
}

/** `--name`, `--name=value` or `-n`. */
const OPTION = /^(?:--([^=]+)|-([^-\d.=]))(?:=(.*))?$/s

/** Checks the words of a command line as they were typed. Numbers may be negative; other words with a dash are options. */
export function checkWords(parser: Argv, words: readonly string[]): void {
  // Not among yargs' types.
  const { key, alias, boolean } = (parser as unknown as { getOptions(): KnownOptions }).getOptions()
  const names = new Map(Object.keys(key).map(name => [name, name]))
  for (const [name, others] of Object.entries(alias)) for (const other of others) names.set(other, name)
  const typed = words.includes('--') ? words.slice(0, words.indexOf('--')) : words
  for (let i = 0; i < typed.length; i++) {
    const [, long, short, attached] = OPTION.exec(typed[i]!) ?? []
    const name = names.get(long ?? short ?? '')
    if (name === undefined) continue
    if (boolean.includes(name)) checkSwitch(name, attached)
    else if (attached === '' || (attached === undefined && !isValue(typed[++i]))) {
      throw new UsageError(`--${name}: expected a value, found nothing`)
    }
  }
}

function checkSwitch(name: string, value: string | undefined): void {
  if (value === undefined || value === 'true' || value === 'false') return
  throw new UsageError(`--${name}: expected true or false, found "${value}"`)
}

function isValue(word: string | undefined): boolean {
  return word !== undefined && word !== '' && !/^-[^\d.]/.test(word)
}
