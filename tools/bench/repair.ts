/**
 * What activation repair is worth: models whose batch norms are folded into their weights (repair_members.py), averaged with
 * and without it, on the 10,000 test images of Fashion-MNIST. Statistics are taken on training images.
 *
 * Usage: node --import tsx tools/bench/repair.ts --members FOLDER --data FOLDER_OF_IDX_FILES [--limit 5000]
 */

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { averageModel } from '../../src/eval/average-model.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { formatTable } from '../../src/util/format.ts'

const { values } = parseArgs({
  options: {
    members: { type: 'string', default: '' },
    data: { type: 'string', default: '' },
    limit: { type: 'string', default: '5000' },
  },
})
const folder = await mkdtemp(join(tmpdir(), 'swa-repair-'))
const engine = cpuEngine()
const percent = (x: number | undefined) => `${(100 * (x ?? NaN)).toFixed(2)} %`
const rows: string[][] = []
try {
  const names = await readdir(values.members)
  for (const group of ['near', 'far']) {
    const checkpoints = names.filter(name => name.startsWith(group)).map(name => join(values.members, name))
    const run = (repair: boolean) =>
      averageModel(engine, {
        ...{ checkpoints, out: join(folder, `${group}-${repair}.onnx`), val: values.data, data: values.data },
        ...{ repair, mode: 'exact' as const, batchSize: 250, manifest: false },
        dataOptions: { mean: [0.286], std: [0.353], limit: Number(values.limit) },
      })
    const plain = await run(false)
    const members = plain.evaluation!.models.slice(0, -1).map(({ metrics }) => metrics['top1']!)
    const repaired = await run(true)
    const figure = ({ evaluation }: typeof plain) => evaluation!.models.at(-1)!.metrics['top1']
    rows.push([
      group,
      percent(Math.max(...members)),
      percent(figure(plain)),
      percent(figure(repaired)),
      (
        repaired.repaired!.layers.reduce((sum, { factor }) => sum + factor, 0) /
        repaired.repaired!.layers.length
      ).toFixed(3),
    ])
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
console.log(formatTable([['members', 'best member', 'average', 'repaired', 'deviations times'], ...rows]))
