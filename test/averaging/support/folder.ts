/** A folder for a test's files, removed afterwards. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export async function withFolder(use: (file: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swa-average-'))
  try {
    await use(name => join(folder, name))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
