/** What a run gave: classes with bars, or a summary of the numbers. */

import { element } from '../../browser/page/shared/elements.ts'
import { DTYPES } from '../../tensor/dtype.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { PageModel } from '../http/page-messages.ts'
import { numbersOf } from '../protocol/classification.ts'
import { datatypeOf } from '../protocol/datatypes.ts'
import { classScores, topClasses, type ClassScores } from './classes.ts'
import { formatPort } from './input-shapes.ts'
import { stringsOf, summarize, type Tensors } from './tensors.ts'

/** Classes that are shown of a sample. */
export const TOP = 5
/** Samples that are shown of a batch. */
export const MOST_SAMPLES = 4
/** Elements that are shown of a tensor. */
const FIRST = 12

/** One block for each output. */
export function showOutputs(outputs: Tensors, model: PageModel): HTMLElement[] {
  return [...outputs].map(([name, tensor]) => {
    const scores = scoresOfOutput(name, tensor, model)
    const block = outputBlock(name, tensor)
    if (scores !== null) {
      block.append(...softmaxNote(scores[0]!))
      scores.slice(0, MOST_SAMPLES).forEach((sample, i) => {
        const which = scores.length === 1 ? '' : `, sample ${i + 1} of ${scores.length}`
        block.append(classTable(sample, model.labels, `Top classes of ${name}${which}`))
      })
    }
    block.append(valuesOf(tensor, scores === null))
    return block
  })
}

/** Classes of an output by its name and by what the model says of itself. */
export function scoresOfOutput(name: string, tensor: Tensor, model: PageModel): ClassScores[] | null {
  return classScores(name, tensor, model.batched, model.labels)
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
function valuesOf(tensor: Tensor, open: boolean): HTMLElement {
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
  const first = [...values.subarray(0, FIRST)].map(formatNumber).join(', ') + more
  const lines = [element('p', tensor.size === 0 ? 'no elements' : first, { className: 'values' })]
  if (summary === null) return lines
  const { min, max, mean, notFinite } = summary
  const odd = notFinite === 0 ? '' : `; ${notFinite} are NaN or infinite`
  const facts = [`least ${formatNumber(min)}`, `largest ${formatNumber(max)}`, `mean ${formatNumber(mean)}`]
  const shown = DTYPES[tensor.dtype].float || DTYPES[tensor.dtype].integer
  return shown ? [element('p', facts.join(', ') + odd, { className: 'note' }), ...lines] : lines
}
