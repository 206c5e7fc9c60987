/** How engines compare, as text for people. */

import { formatCount, formatDuration, formatTable } from '../util/format.ts'
import { formatShape } from '../tensor/shape.ts'
import type { EngineComparison } from './compare-engines.ts'
import type { ComparedEngine, CrossValidation } from './cross-validate.ts'
import { formatDifference } from './difference.ts'
import type { Parting, PartingCause } from './find-parting.ts'
import { describeTransforms } from './report.ts'
import { metricCells } from './score.ts'

/** For each model: metrics by engine, differences by output, and the node where engines part. */
export function describeEngineComparison({ data, transforms, models }: EngineComparison): string {
  return [
    `${data.name}: ${formatCount(data.samples)} samples`,
    ...describeTransforms(transforms),
    ...models.flatMap(model => ['', describeCrossValidation(model)]),
  ].join('\n')
}

export function describeCrossValidation({ model, engines, comparisons }: CrossValidation): string {
  const cells = engines.map(({ metrics }) => new Map(metrics ? metricCells(metrics) : []))
  const names = [...new Set(cells.flatMap(row => [...row.keys()]))]
  const measured = engines.map(({ name, seconds }, i) => [
    name,
    ...names.map(metric => cells[i]!.get(metric) ?? '-'),
    formatDuration(seconds),
  ])
  const reference = engines[0]!.name
  const compared = comparisons.flatMap(({ engine, outputs }) =>
    outputs.map(({ output, difference, tolerance, sameClass }) => [
      engine,
      output,
      formatDifference(difference.maxAbsolute),
      formatDifference(difference.relative),
      formatDifference(tolerance),
      sameClass === null ? '-' : `${(100 * sameClass).toFixed(2)} %`,
      difference.relative <= tolerance ? 'agrees' : 'DIFFERS',
    ]),
  )
  const head = [
    'engine',
    'output',
    `largest difference to ${reference}`,
    'relative',
    'tolerance',
    'same class',
    '',
  ]
  return [
    model,
    formatTable([['engine', ...names, 'time'], ...measured]),
    '',
    formatTable([head, ...compared]),
    ...comparisons.flatMap(comparison => describeVerdict(reference, comparison)),
  ].join('\n')
}

/** One line for each thing that a person should know; none where engines agree. */
export function describeVerdict(
  reference: string,
  { engine, agrees, parting, uncompared }: ComparedEngine,
): string[] {
  const text = uncompared.map(output => `output "${output}" is not compared: it holds no numbers`)
  if (agrees) return text
  return [
    ...text,
    parting
      ? describeParting(reference, engine, parting)
      : `no single node was found where ${engine} parts from ${reference}`,
  ]
}

const CAUSES: Readonly<Record<PartingCause, string>> = {
  node: 'from the same inputs it computes something else',
  inputs: 'from the same inputs it computes the same: it makes small differences of its inputs large',
  unclear: 'it could not be run by itself',
  fusion: 'it differs only while its inputs are not asked for: it is run as one with nodes before it',
}

/** `cuda parts from cpu at Conv "stem/conv": ...`. */
export function describeParting(reference: string, engine: string, parting: Parting): string {
  const { node, position, inputs, output, cause } = parting
  const { difference, dims, dtype, name } = output
  const { worst, shapes } = difference
  const furthest = Math.max(0, ...inputs.map(input => input.difference.relative))
  const types = inputs.map(input => `${input.dtype}${formatShape(input.dims)}`).join(', ') || 'none'
  const element = worst
    ? `; element ${worst.index} is ${worst.reference} on ${reference}, ${worst.value} on ${engine}`
    : ''
  return [
    `${engine} parts from ${reference} at ${node} (node ${position})`,
    `inputs ${types} equal to ${formatDifference(furthest)}`,
    `output "${name}" ${dtype}${formatShape(dims)} off by ${formatDifference(difference.relative)}${shapes ? ` (shapes ${shapes})` : ''}${element}`,
    CAUSES[cause],
  ].join('; ')
}
