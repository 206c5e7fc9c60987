/** Where test models are, and temporary folders for what tests write. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../../', import.meta.url))

export const FIXTURES = join(root, 'fixtures', 'serde')
export const OCR_MODELS = join(root, 'node_modules', '@gutenye', 'ocr-models', 'assets')

/** Every .onnx file below fixtures/ and in the real-model package: dropping a file in makes it a test. */
export function allModels(): string[] {
  const below = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter(name => name.endsWith('.onnx'))
      .sort()
      .map(name => join(folder, name))
  return [...below(join(root, 'fixtures')), ...below(OCR_MODELS)]
}

/** Runs with a fresh folder, which is removed afterwards. */
export async function inFolder<T>(action: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-serde-'))
  try {
    return await action(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
