/** Names of models and versions: what may stand in a URL, and never a way out of a folder. */

import { invalid, quoted } from '../protocol/errors.ts'

const NAME = /^[A-Za-z0-9._-]{1,128}$/

export function isModelName(name: string): boolean {
  return NAME.test(name) && name !== '.' && name !== '..'
}

/** Versions are whole numbers without leading zeros. */
export function isVersion(text: string): boolean {
  return /^(?:0|[1-9]\d{0,17})$/.test(text)
}

export function checkModelName(name: string): string {
  if (isModelName(name)) return name
  throw invalid(
    `expected a model name of up to 128 letters, digits, dots, dashes and underscores, found ${quoted(name)}`,
  )
}

export function checkVersion(version: string): string {
  if (isVersion(version)) return version
  throw invalid(`expected a model version as a whole number, found ${quoted(version)}`)
}

/** `My model (2)` -> `My_model_2`: a name for a file that has none of its own. */
export function nameFrom(text: string): string {
  const name = text.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^[_.]+|_+$/g, '')
  return name.slice(0, 128) || 'model'
}
