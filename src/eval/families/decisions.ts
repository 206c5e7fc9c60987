/** Yes-no decisions: their log loss and how many are right. */

import type { BinaryFamily } from './family.ts'

export function decisions(): BinaryFamily {
  let [rows, loss, right] = [0, 0, 0]
  return {
    add: row => {
      rows++
      loss += row.loss
      right += Number(row.yes === row.target > 0.5)
    },
    figures: () => ({ loss: loss / rows, accuracy: right / rows }),
  }
}
