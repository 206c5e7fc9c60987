/**
 * Compares our decision about every weight with what it truly is: `node --import tsx tools/roles/check.ts OUT`, over the
 * folders that export.py has written. Prints what is misclassified, and one row for each model.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { classifyWeights, cloneModel, inlineFunctions } from '../../src/passes/index.ts'
import { loadModel } from '../../src/serde/index.ts'
import { formatShape } from '../../src/tensor/shape.ts'
import { formatTable } from '../../src/util/format.ts'

/** Shares of elements that are those of a parameter, or of a buffer, of the module. */
interface Truth {
  readonly parameter: number
  readonly buffer: number
  readonly size: number
}

/** A tensor of which most elements are a parameter's is one; chance gives a few in a large constant. */
const MOSTLY = 0.9

const [, , out, ...only] = process.argv
if (!out) throw new Error('usage: check.ts OUT [FOLDER...]')

const rows: string[][] = []
for (const name of readdirSync(out).sort()) {
  const folder = join(out, name)
  if (!existsSync(join(folder, 'truth.json')) || (only.length > 0 && !only.includes(name))) continue
  const truth = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8')) as Record<string, Truth>
  const file = await loadModel(join(folder, 'model.onnx'))
  const { model } = cloneModel(file.model)
  inlineFunctions(model)
  const infos = await classifyWeights(model)
  let [learned, missed, wrong, derived] = [0, 0, 0, 0]
  for (const info of infos) {
    const known = truth[info.name]
    if (!known) continue
    const isParameter = known.parameter >= MOSTLY
    const isMade = known.parameter < MOSTLY && known.buffer < MOSTLY
    if (isParameter) learned++
    const kind = isParameter ? 'parameter' : known.buffer >= MOSTLY ? 'buffer' : 'neither'
    const remark = `${name}: "${info.name}" ${info.dtype}${formatShape(info.dims)} is ${kind}, we say ${info.role}: ${info.reason}`
    if (isParameter && !info.trainable) {
      missed++
      console.log(`missed   ${remark}`)
    } else if (!isParameter && info.trainable) {
      if (isMade) derived++
      else wrong++
      // Weights of layers into which an exporter folded something are trained as they are.
      if (
        !isMade ||
        (known.parameter < 0.5 && !/^(weight|bias|matrix) of (Conv|MatMul|Gemm)/.test(info.reason))
      ) {
        console.log(`${isMade ? 'derived?' : 'wrong   '} ${remark} (share ${known.parameter.toFixed(2)})`)
      }
    }
  }
  rows.push([name, String(infos.length), String(learned), String(missed), String(wrong), String(derived)])
  await file.close()
}
console.log(formatTable([['model', 'weights', 'parameters', 'missed', 'wrong', 'derived?'], ...rows]))
