/** What a run gave: classes with bars, or a summary of the numbers. */

import { element } from '../../browser/page/shared/elements.ts'
import { DTYPES } from '../../tensor/dtype.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { PageModel } from '../http/page-messages.ts'
import { numbersOf } from '../protocol/classification.ts'
import { datatypeOf } from '../protocol/datatypes.ts'
import { classScores, fittingLabels, topClasses, type ClassScores } from './classes.ts'
import { formatPort } from './input-shapes.ts'
import { stringsOf, summarize, type Tensors } from './tensors.ts'

/** Classes that are shown of a sample. */
export const TOP = 5
/** Samples that are shown of a batch. */
export const MOST_SAMPLES = 4
/** Elements that are shown of a tensor. */
const FIRST = 12

/** What a version gave for an input. */
export interface Answered {
  readonly model: PageModel
  readonly outputs: Tensors
}

/** One block for each output. */
export function showOutputs(answered: Answered): HTMLElement[] {
  const { model, outputs } = answered
  const labels = fittingLabels(outputs, model.labels)
  const unfit = model.labels !== null && labels === null
  return [...outputs].map(([name, tensor]) => {
    const scores = scoresOfOutput(answered, name)
    const block = outputBlock(name, tensor)
    if (scores !== null) {
      if (unfit) block.append(unfitNote(model.labels.length))
      block.append(...softmaxNote(scores[0]!))
      scores.slice(0, MOST_SAMPLES).forEach((sample, i) => {
        const which = scores.length === 1 ? '' : `, sample ${i + 1} of ${scores.length}`
        block.append(classTable(sample, labels, `Top classes of ${name}${which}`))
      })
    }
    block.append(valuesOf(tensor, scores === null))
    return block
  })
}

/** Classes of an output by its name and by what the model says of itself. */
export function scoresOfOutput({ model, outputs }: Answered, name: string): ClassScores[] | null {
  const tensor = outputs.get(name)
  return tensor ? classScores(name, tensor, model.batched, fittingLabels(outputs, model.labels)) : null
}

function unfitNote(count: number): HTMLElement {
  return element('p', `The model's ${count} names of classes are left out: no output has as many.`, {
    className: 'note',
  })
}

/** `7`, or `7 (seven)`. */
export function className(index: number, labels: readonly string[] | null): string {
  const label = labels?.[index]
  return label === undefined || label === String(index) ? String(index) : `${label} (${index})`
}

/** An output's place, with its name, type and shape. */
export function outputBlock(name: string, { dims, dtype }: Tensor): HTMLElement {
  const block = element('div', '', { className: 'output' })
  block.dataset['output'] = name
  const facts = `${datatypeOf(dtype) ?? dtype} ${formatPort(dims)}`
  block.append(element('h3', name), element('p', facts, { className: 'note' }))
  return block
}

/** Says that probabilities are not the model's own. */
export function softmaxNote({ softmaxed }: ClassScores): HTMLElement[] {
  return softmaxed
    ? [
        element(
          'p',
          'The values are no probabilities: their softmax is shown, which the model did not compute.',
          { className: 'note' },
        ),
      ]
    : []
}

function classTable(scores: ClassScores, labels: readonly string[] | null, title: string): HTMLElement {
  const { values, probabilities, softmaxed } = scores
  const head = ['Class', 'Probability', ...(softmaxed ? ['Value'] : [])]
  const rows = topClasses([scores], TOP).map(index => {
    const row = element('tr', '')
    row.append(element('th', className(index, labels), { scope: 'row' }), barCell(probabilities[index]!))
    if (softmaxed) row.append(element('td', formatNumber(values[index]!)))
    return row
  })
  return tableOf(title, head, rows)
}

export function tableOf(title: string, head: readonly string[], rows: readonly HTMLElement[]): HTMLElement {
  const table = element('table', '')
  const line = element('tr', '')
  line.append(...head.map(text => element('th', text, { scope: 'col' })))
  const top = element('thead', '')
  top.append(line)
  const body = element('tbody', '')
  body.append(...rows)
  table.append(element('caption', title), top, body)
  return table
}

/** A share as text, with a bar for the eye. */
export function barCell(share: number, kind = ''): HTMLElement {
  const fill = element('span', '', { className: 'fill' })
  fill.style.width = `${100 * share}%`
  const bar = element('span', '', { className: `bar ${kind}` })
  bar.setAttribute('aria-hidden', 'true')
  bar.append(fill)
  const cell = element('td', formatShare(share), { className: 'share' })
  cell.append(bar)
  return cell
}

export function formatShare(share: number): string {
  return `${(100 * share).toFixed(2)} %`
}

/** Six digits, without an end of zeros. */
export function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)))
}

/** Shape, summary and first values; behind a button where classes say more. */
export function valuesOf(tensor: Tensor, open: boolean): HTMLElement {
  const details = element('details', '', { open })
  details.append(element('summary', 'Values'), ...valueLines(tensor))
  return details
}

function valueLines(tensor: Tensor): HTMLElement[] {
  const more = tensor.size > FIRST ? ', …' : ''
  if (tensor.dtype === 'string') {
    const texts = stringsOf(tensor).slice(0, FIRST)
    return [element('p', texts.map(text => JSON.stringify(text)).join(', ') + more, { className: 'values' })]
  }
  const values = numbersOf(tensor)
  const summary = summarize(values)
  const whole = DTYPES[tensor.dtype].integer
  const first = whole ? [...tensor.view().subarray(0, FIRST)].map(String) : firstOf(values)
  const lines = [
    element('p', tensor.size === 0 ? 'no elements' : first.join(', ') + more, { className: 'values' }),
  ]
  if (summary === null) return lines
  const { min, max, mean, notFinite } = summary
  const odd = notFinite === 0 ? '' : `; ${notFinite} are NaN or infinite`
  const facts = [`least ${formatNumber(min)}`, `largest ${formatNumber(max)}`, `mean ${formatNumber(mean)}`]
  const shown = DTYPES[tensor.dtype].float || whole
  return shown ? [element('p', facts.join(', ') + odd, { className: 'note' }), ...lines] : lines
}

function firstOf(values: Float64Array): string[] {
  return [...values.subarray(0, FIRST)].map(formatNumber)
}
