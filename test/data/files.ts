/** Temporary folders and hand-made files for the tests of `data`. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { SwaError } from '../../src/util/errors.ts'

export const FIXTURES = fileURLToPath(new URL('../../fixtures/data/', import.meta.url))

const folders: string[] = []
process.on('exit', () => folders.forEach(folder => rmSync(folder, { recursive: true, force: true })))

/** A folder that is removed when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-data-'))
  folders.push(folder)
  return folder
}

/** Writes files of a folder tree, given by relative path. */
export function writeTree(files: Record<string, Uint8Array | string>, root = temporaryFolder()): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}

/** IDX bytes typed by hand: two zeros, the type, the rank, big-endian dims, the elements. */
export function idxBytes(type: number, dims: readonly number[], elements: readonly number[]): Uint8Array {
  const sizes = dims.flatMap(dim => [dim >>> 24, (dim >> 16) & 255, (dim >> 8) & 255, dim & 255])
  return Uint8Array.from([0, 0, type, dims.length, ...sizes, ...elements])
}

/** Asserts that something fails with exactly this message; `root` is written as `/`. */
export async function assertFails(
  action: () => unknown,
  message: string | RegExp,
  options: { root?: string; cure?: string } = {},
): Promise<void> {
  let error: unknown
  try {
    await action()
  } catch (thrown) {
    error = thrown
  }
  assert.instance(error, SwaError, `expected an error of ours, got ${String(error)}`)
  const found = (error as SwaError).message.replaceAll(options.root ?? '/', '/').replaceAll('//', '/')
  if (typeof message === 'string') assert.is(found, message)
  else assert.match(found, message)
  if (options.cure !== undefined) assert.is((error as SwaError).cure, options.cure)
}
