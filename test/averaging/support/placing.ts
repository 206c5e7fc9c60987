/** Fixtures of two nets whose exporters renamed weights, and what averaging says about places. */

import { fileURLToPath } from 'node:url'
import { planAverage, type AverageOptions } from '../../../src/averaging/index.ts'
import { errorOf } from '../../support/errors.ts'

const FOLDER = fileURLToPath(new URL('../../../fixtures/averaging/placing', import.meta.url))
export const at = (name: string) => `${FOLDER}/${name}`
export const membersOf = (net: string) =>
  [`${net}-1.safetensors`, `${net}-2.pt`, `${net}-3.safetensors`].map(at)

/** The message and the cure, with folders left out. */
export async function refusal(paths: readonly string[], options: AverageOptions): Promise<string> {
  const error = await errorOf(planAverage(paths, options))
  const text = error.cure === undefined ? error.message : `${error.message} | ${error.cure}`
  return text.replace(/\/\S*\/(?=[^/\s]+)/g, '')
}
