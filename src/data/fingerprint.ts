/** What a resumed run compares: whether the data are still those it was started with. */

import { createHash } from 'node:crypto'
import { fieldSize, type Dataset } from './dataset.ts'

/**
 * SHA-256 over everything that decides which sample is where: fields, classes, and for each sample its target and its
 * numbers (in memory) or its name (files, whose pixels are not read; of masks the classes are counted).
 */
export function fingerprintDataset(dataset: Dataset): string {
  const { length, fields, targets, columns } = dataset
  const hash = createHash('sha256')
  const shape = fields.map(({ name, layout, dims, dtype }) => ({ name, layout, dims, dtype }))
  hash.update(JSON.stringify({ length, fields: shape, targets }))
  for (let i = 0; i < length; i++) {
    const counts = dataset.maskCounts?.(i)
    if (counts) hash.update(counts)
    targets.forEach((_, t) => {
      if (counts) return
      const target = dataset.target(i, t)
      hash.update(typeof target === 'number' ? `${target}\n` : target)
    })
    if (columns === null) hash.update(`${dataset.sampleName(i)}\n`)
  }
  columns?.inputs.forEach((input, f) => {
    const size = fieldSize(fields[f]!)
    if (columns.rows === null) hash.update(input)
    else for (const row of columns.rows) hash.update(input.subarray(row * size, (row + 1) * size))
  })
  return hash.digest('hex')
}
