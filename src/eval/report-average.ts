/** What was averaged, as text for people. */

import { basename } from 'node:path'
import type { AveragePlan, Placed, TensorPolicy } from '../averaging/index.ts'
import { formatShape, sizeOf } from '../tensor/shape.ts'
import { formatCount, formatTable } from '../util/format.ts'
import type { AverageResult } from './average-model.ts'
import type { RepairReport } from './average-repair.ts'
import type { ChosenSoup } from './average-soup.ts'
import { describeEvaluation, describeRecalibration } from './report.ts'

const POLICIES: Readonly<Record<TensorPolicy, string>> = {
  average: 'averaged',
  equal: 'equal in all files',
  last: 'taken from the last file',
  keep: 'kept as the model has them',
  drop: 'left out',
}

/** Files with their weights, and what becomes of the tensors; those that could not be averaged are named. */
export function describeAveragePlan(plan: AveragePlan): string {
  const { files, tensors, template, title, output } = plan
  const rows = files.map(({ path, format, role, weight, members }) => [
    `  ${path}`,
    format,
    role === 'base' ? 'base' : members.length === 1 ? `weight ${weight}` : `${members.length} members`,
  ])
  const groups = Object.entries(POLICIES).flatMap(([policy, words]) => {
    const group = tensors.filter(tensor => tensor.policy === policy)
    const elements = group.reduce((sum, { dims }) => sum + sizeOf(dims), 0)
    return group.length === 0 ? [] : [[`  ${words}`, formatCount(group.length), formatCount(elements)]]
  })
  const others = tensors
    .filter(({ policy }) => policy !== 'average' && policy !== 'equal')
    .map(({ name, dtype, dims, policy, reason }) => [
      `  ${name}`,
      `${dtype}${formatShape(dims)}`,
      policy,
      reason,
    ])
  const renamed = tensors.find(({ placed }) => placed?.by === 'prefix')
  return [
    `${title} of ${files.length} files, ${output === 'onnx' ? `into ${template!.path}` : 'as safetensors'}`,
    formatTable(rows),
    ...(renamed ? [`names differ: ${renamed.name} is ${renamed.place!} in the model, and so on`] : []),
    ...describePlaces(plan),
    '',
    formatTable([['tensors', 'count', 'elements'], ...groups]),
    ...(others.length > 0 ? ['', 'neither averaged nor equal', formatTable(others)] : []),
  ].join('\n')
}

function describeRepair({ data, layers, skipped }: RepairReport): string[] {
  const factor = layers.reduce((sum, layer) => sum + layer.factor, 0) / layers.length
  const dead = layers.reduce((sum, layer) => sum + layer.dead, 0)
  return [
    `repaired ${layers.length} layers on ${formatCount(data.samples)} samples of ${data.name}: deviations times ${factor.toFixed(3)} on average${dead > 0 ? `, ${dead} channels that do not move left alone` : ''}`,
    ...skipped.map(({ node, reason }) => `not repaired: ${node}: ${reason}`),
  ]
}

function describeSoup({ kind, members, tried }: ChosenSoup): string[] {
  const name = (path: string) => basename(path)
  const singles = tried.filter(({ members: some }) => some.length === 1)
  const rows = singles
    .sort((a, b) => b.score - a.score)
    .map(({ members: [path], score }) => [
      `  ${name(path!)}`,
      score.toPrecision(5),
      members.includes(path!) ? 'in the soup' : '',
    ])
  return [
    `${kind} soup of ${members.length} of ${singles.length} members, ${tried.length} averages measured`,
    formatTable(rows),
  ]
}

const WAYS: Readonly<Record<Placed['by'], string>> = {
  name: 'by name',
  prefix: 'by name but for a prefix',
  map: 'by --map',
  content: 'by content',
  shape: 'by shape',
}

/** How tensors came to their places, each of them but for plain names, which are counted. */
function describePlaces({ tensors }: AveragePlan): string[] {
  const placed = tensors.flatMap(tensor => (tensor.placed ? [{ ...tensor, placed: tensor.placed }] : []))
  const isPlain = ({ placed: { by }, transposed }: (typeof placed)[number]) =>
    transposed !== true && (by === 'name' || by === 'prefix')
  const rows = placed
    .filter(tensor => !isPlain(tensor))
    .map(({ name, place = name, transposed, placed: { by, note } }) => [
      `  ${name}`,
      place,
      `${WAYS[by]}${transposed ? ', transposed' : ''}${note === undefined ? '' : ` (${note})`}`,
    ])
  const counts = Object.entries(WAYS).flatMap(([by, words]) => {
    const count = placed.filter(tensor => tensor.placed.by === by).length
    return count === 0 ? [] : [`${formatCount(count)} ${words}`]
  })
  if (placed.length === 0) return []
  return ['', `places in the model: ${counts.join(', ')}`, ...(rows.length > 0 ? [formatTable(rows)] : [])]
}

export function describeAverage(result: AverageResult): string {
  const { method, members, tensors, elements, path, recalibrated, evaluation, into, output } = result
  const what = output === 'partial' ? 'sums of' : `${method} of`
  const lines = [
    `${what} ${members} checkpoints: ${formatCount(elements)} numbers in ${formatCount(tensors)} tensors`,
    ...(into === null ? [] : [`the graph is that of ${into}`]),
  ]
  if (result.soup) lines.push('', ...describeSoup(result.soup))
  if (result.repaired) lines.push(...describeRepair(result.repaired))
  if (recalibrated) lines.push('', describeRecalibration(recalibrated))
  else lines.push(`wrote ${path}`)
  if (evaluation) lines.push('', describeEvaluation(evaluation))
  return lines.join('\n')
}
