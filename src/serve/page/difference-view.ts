/** Two results of one input beside each other: of the server and of this browser, or of two versions. */

import { element } from '../../browser/page/shared/elements.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { datatypeOf, type Datatype } from '../protocol/datatypes.ts'
import { fittingLabels, topClasses, type ClassScores } from './classes.ts'
import { titleOf } from './models-view.ts'
import {
  barCell,
  className,
  MOST_SAMPLES,
  outputBlock,
  scoresOfOutput,
  softmaxNote,
  tableOf,
  TOP,
  valuesOf,
  type Answered,
} from './result-view.ts'
import { differenceOf, toleranceOf, type Difference, type Tensors } from './tensors.ts'

export interface Verdict {
  readonly agrees: boolean
  readonly blocks: readonly HTMLElement[]
}

/** Whether this browser computes what the server does, output by output. */
export function showCheck(server: Tensors, here: Tensors, inputs: Tensors): Verdict {
  const given = [...inputs.values()].map(({ dtype }) => datatypeOf(dtype)!)
  const verdicts = [...server].map(([name, tensor]) => checkOutput(name, tensor, here.get(name), given))
  return {
    agrees: verdicts.every(({ agrees }) => agrees),
    blocks: verdicts.flatMap(({ blocks }) => blocks),
  }
}

function checkOutput(
  name: string,
  server: Tensor,
  here: Tensor | undefined,
  given: readonly Datatype[],
): Verdict {
  const tolerance = toleranceOf([...given, datatypeOf(server.dtype)!])
  const difference = here && differenceOf(server, here)
  const agrees = difference !== undefined && difference.relative <= tolerance
  const block = outputBlock(name, server)
  const verdict = element('p', agrees ? 'Agrees.' : 'Differs.', {
    className: agrees ? 'verdict good' : 'verdict bad',
  })
  const facts = difference ? describe(difference) : 'This browser gave no such output.'
  block.append(verdict, element('p', `${facts} Up to ${tolerance} of the largest magnitude, results agree.`))
  return { agrees, blocks: [block] }
}

/** In words; nothing can be said in numbers where one side is NaN or of another shape. */
export function describe({ absolute, relative }: Difference): string {
  if (absolute === 0) return 'No difference at all.'
  if (!Number.isFinite(absolute)) {
    return 'The results cannot be compared: other shapes, other texts, or NaN on one side only.'
  }
  return `Largest difference ${formatSmall(absolute)}, relative to the largest magnitude ${formatSmall(relative)}.`
}

function formatSmall(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : 'infinite'
}

/** Outputs of both beside each other, then those that only the second has. */
export function showComparison(first: Answered, second: Answered): HTMLElement[] {
  const more = [...second.outputs].filter(([name]) => !first.outputs.has(name))
  const shared = [...first.outputs].map(([name, tensor]) => {
    const other = second.outputs.get(name)
    if (other === undefined) return showAlone(name, tensor, first, second)
    const block = outputBlock(name, tensor)
    block.append(element('p', describe(differenceOf(tensor, other))))
    const scores = scoresOfOutput(first, name)
    const others = scoresOfOutput(second, name)
    const alike = tensor.dims.join() === other.dims.join()
    if (scores === null || !others || !alike) return block
    block.append(...softmaxNote(scores[0]!))
    scores.slice(0, MOST_SAMPLES).forEach((sample, i) => {
      const which = scores.length === 1 ? '' : `, sample ${i + 1} of ${scores.length}`
      block.append(sideBySide([sample, others[i]!], [first, second], `Classes of ${name}${which}`))
    })
    return block
  })
  return [...shared, ...more.map(([name, tensor]) => showAlone(name, tensor, second, first))]
}

/** An output that only `owner` has. */
function showAlone(name: string, tensor: Tensor, owner: Answered, other: Answered): HTMLElement {
  const block = outputBlock(name, tensor)
  const says = `Of ${titleOf(owner.model)}; ${titleOf(other.model)} has no output of this name.`
  block.append(element('p', says), valuesOf(tensor, true))
  return block
}

/** The top classes of both, in the order of the first. */
function sideBySide(
  [a, b]: readonly [ClassScores, ClassScores],
  sides: readonly [Answered, Answered],
  title: string,
): HTMLElement {
  const [labels, others] = sides.map(({ outputs, model }) => fittingLabels(outputs, model.labels))
  const rows = topClasses([a, b], TOP).map(index => {
    const row = element('tr', '')
    const [p, q] = [a.probabilities[index]!, b.probabilities[index]!]
    row.append(
      element('th', className(index, labels ?? others ?? null), { scope: 'row' }),
      barCell(p),
      barCell(q, 'second'),
      element('td', formatChange(100 * (q - p))),
    )
    return row
  })
  return tableOf(title, ['Class', ...sides.map(({ model }) => titleOf(model)), 'Change, points'], rows)
}

/** With its sign, to the digits that the shares have. */
function formatChange(points: number): string {
  const shown = Math.abs(points).toFixed(2)
  return shown === '0.00' ? '0' : `${points > 0 ? '+' : '−'}${shown}`
}
