/** What a model file says about its batch norms. */

import { countBatchNorms } from '../passes/index.ts'
import { loadModelFrom } from '../serde/index.ts'

/** How many batch normalizations with stored statistics the model of a file has. */
export async function batchNormsOf(path: string): Promise<number> {
  const file = await loadModelFrom(path)
  try {
    return countBatchNorms(file.model)
  } finally {
    await file.close()
  }
}
