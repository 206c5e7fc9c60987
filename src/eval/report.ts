/** Results as text for people: aligned columns, the same facts as the JSON documents. */

import { formatBytes, formatCount, formatRate, formatTable } from '../util/format.ts'
import type { ImageSize, Transforms } from '../data/index.ts'
import { formatShape } from '../tensor/shape.ts'
import type { BayesReport } from './bayes.ts'
import type { EvaluationReport } from './compare.ts'
import { copyNotes } from '../passes/index.ts'
import type { Inspection, InspectedWeight } from './inspect.ts'
import type { SiteSummary } from './calibrate.ts'
import type { RecalibratedModel } from './recalibrate-model.ts'
import { metricCells } from './score.ts'

/** One row a model; `*` marks the best. */
export function describeEvaluation({ models, best, data }: EvaluationReport): string {
  const cells = models.map(({ metrics }) => new Map(metricCells(metrics)))
  const names = [...new Set(cells.flatMap(row => [...row.keys()]))]
  const marked = models.length > 1 && best !== null
  const rows = models.map(({ model, metrics, seconds }, i) => [
    ...(marked ? [model === best ? '*' : ''] : []),
    model,
    ...names.map(name => cells[i]!.get(name) ?? '-'),
    formatRate(metrics.samples / seconds),
  ])
  const head = [...(marked ? [''] : []), 'model', ...names, 'speed']
  const inputs = new Set(models.flatMap(({ transforms }) => describeTransforms(transforms)))
  const lines = [
    `${data.name}: ${formatCount(data.samples)} samples`,
    ...inputs,
    '',
    formatTable([head, ...rows]),
  ]
  if (marked) lines.push('', '* best')
  return lines.join('\n')
}

/** The mean of a Gaussian and its averaged predictions; what they are for is their calibration. */
export function describeBayes({ data, draws, mean, averaged }: BayesReport): string {
  const rows = [
    ['mean of the weights', mean],
    [`${draws} draws, averaged`, averaged],
  ] as const
  const cells = rows.map(([name, metrics]) => [
    name,
    `${(100 * (metrics.top1 ?? NaN)).toFixed(2)} %`,
    metrics.loss.toPrecision(4),
    (metrics['ece'] ?? NaN).toPrecision(3),
  ])
  return [
    `${data.name}: ${formatCount(data.samples)} samples`,
    '',
    formatTable([['', 'top-1', 'log loss', 'calibration error'], ...cells]),
  ].join('\n')
}

/** A line for each data field: wrong sizes and normalisations are the usual reason for bad figures. */
export function describeTransforms(transforms: Readonly<Record<string, Transforms>>): string[] {
  return Object.entries(transforms).map(([field, spec]) => {
    const name = /^\d+$/.test(field) ? `input ${field}` : `input "${field}"`
    const normal = `mean ${spec.mean.join(', ')}, std ${spec.std.join(', ')}`
    if (spec.kind === 'tensor') return `${name}: numbers as ${spec.dtype}, ${normal}`
    const { resize, crop, divide } = spec
    const steps = [
      resize && ('short' in resize ? `short side to ${resize.short}` : `resized to ${sides(resize)}`),
      crop && `centre ${sides(crop)}`,
      divide === 1 ? null : `divided by ${divide}`,
      normal,
    ]
    return `${name}: images, ${steps.filter(Boolean).join(', ')}`
  })
}

const sides = ({ height, width }: ImageSize) => `${height}x${width}`

/** Sites named before the rest is summed up. */
const MOST_MOVED = 10

/** Half a sigma, or a variance that is e^0.5 times as large, count alike. */
const moved = ({ meanDrift, varianceDrift }: SiteSummary) => meanDrift + Math.log(varianceDrift)

export function describeRecalibration(report: RecalibratedModel): string {
  const { sites, samples, batchSize, mode, out, transforms } = report
  const sorted = [...sites].sort((a, b) => moved(b) - moved(a))
  const rows = sorted
    .slice(0, MOST_MOVED)
    .map(({ nodes, channels, meanDrift, varianceDrift }) => [
      nodes.join(', '),
      String(channels),
      meanDrift.toPrecision(3),
      varianceDrift.toPrecision(3),
    ])
  const head = ['normalization', 'channels', 'mean moved (sigma)', 'variance changed (times)']
  const rest = sites.length - rows.length
  const count = `${sites.length} batch normalization${sites.length === 1 ? '' : 's'}`
  return [
    `recalibrated ${count} on ${formatCount(samples)} samples, batches of ${batchSize}, ${mode} statistics`,
    ...describeTransforms(transforms),
    '',
    formatTable([head, ...rows]),
    ...(rest > 0 ? [`and ${rest} that moved less`] : []),
    '',
    `wrote ${out}`,
  ].join('\n')
}

const GRADIENTS = { rule: '', stops: 'no gradient: stops here', missing: 'no gradient rule' } as const

/** The summary of a model; `weights` lists every tensor. */
export function describeInspection(inspection: Inspection, options: { weights: boolean }): string {
  const { batchNorm, prediction, obstacles, weights } = inspection
  const facts: [string, string][] = [
    ['file', `${inspection.path}, ${formatBytes(inspection.bytes)}${describeExternal(inspection)}`],
    ['format', `opset ${describeOpsets(inspection)}, IR version ${inspection.irVersion}`],
    ['producer', `${inspection.producer.name} ${inspection.producer.version}`.trim() || 'not said'],
    ...inspection.inputs.map(({ name, type }): [string, string] => ['input', `${name}: ${type}`]),
    ...inspection.outputs.map(({ name, type }): [string, string] => ['output', `${name}: ${type}`]),
    ['parameters', describeParameters(inspection)],
    ...tiedWeights(weights).map((tie): [string, string] => ['tied', tie]),
    ...copyNotes(inspection.equalCopies).map((note): [string, string] => ['copies', note]),
    ...(inspection.functions > 0
      ? [['functions', `${inspection.functions} local functions, inlined for training`] as [string, string]]
      : []),
    ['batch norm', batchNorm.summary],
    ...(inspection.head ? [['head', headWords(inspection.head)] as [string, string]] : []),
    ...(prediction?.notes ?? []).map((note): [string, string] => ['loss', note]),
    ...Object.entries(inspection.metadata).map(([key, value]): [string, string] => [
      'metadata',
      `${key} = ${shorten(value)}`,
    ]),
  ]
  const width = Math.max(...facts.map(([name]) => name.length))
  const operators = inspection.operators.map(({ operator, count, gradient }) => [
    `  ${operator}`,
    formatCount(count),
    GRADIENTS[gradient],
  ])
  return [
    ...facts.map(([name, fact], i) => `${(facts[i - 1]?.[0] === name ? '' : name).padEnd(width)}  ${fact}`),
    '',
    `nodes: ${formatCount(inspection.nodes)}, operators: ${inspection.operators.length}`,
    formatTable(operators),
    ...(options.weights ? ['', 'weights', formatTable(weights.map(weightRow))] : []),
    '',
    ...(obstacles.length === 0
      ? ['nothing keeps it from being fine-tuned']
      : obstacles.flatMap(({ message, cure }) => [
          `cannot be fine-tuned: ${message}`,
          ...(cure ? [`  help: ${cure}`] : []),
        ])),
  ].join('\n')
}

/** The classifier that `--head reinit` replaces. */
function headWords({ classes, nodes, weights }: NonNullable<Inspection['head']>): string {
  return `${classes} classes by ${nodes.join(', ')} (${weights.join(', ')})`
}

/** Trained matrices and tables that several nodes read, such as an embedding that is the last layer too. */
function tiedWeights(weights: readonly InspectedWeight[]): string[] {
  return weights
    .filter(({ trainable, dims, usedBy }) => trainable && dims.length > 1 && usedBy.length > 1)
    .map(({ name, usedBy }) => `${name} is read by ${shorten(usedBy.join(', '))}`)
}

function describeOpsets({ opset, opsetImports }: Inspection): string {
  const others = Object.entries(opsetImports).filter(([domain]) => domain !== 'ai.onnx')
  return [String(opset), ...others.map(([domain, version]) => `${domain} ${version}`)].join(', ')
}

function describeExternal({ externalData }: Inspection): string {
  return externalData
    .map(({ file, tensors, bytes }) => `; ${tensors} tensors (${formatBytes(bytes)}) in ${file}`)
    .join('')
}

function describeParameters({ parameters, weights }: Inspection): string {
  const roles = { buffer: 0, constant: 0 }
  let frozen = 0
  for (const { role, trainable } of weights) {
    if (role !== 'parameter') roles[role]++
    else if (!trainable) frozen++
  }
  const all = `${formatCount(parameters.trainable)} trained in ${parameters.tensors} tensors`
  const rest = `${roles.buffer} running statistics, ${roles.constant} constants`
  return `${all}; ${rest}${frozen > 0 ? `; ${frozen} parameters are not trained` : ''}`
}

function weightRow({ name, dtype, dims, role, trainable, reason, external }: InspectedWeight): string[] {
  const decision = role === 'parameter' ? (trainable ? 'trained' : 'frozen') : role
  return [`  ${name}`, `${dtype}${formatShape(dims)}`, decision, `${reason}${external ? ' (external)' : ''}`]
}

function shorten(text: string, most = 80): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > most ? `${line.slice(0, most - 3)}...` : line
}
