/** The list of versions in service: what each takes and gives, and which one is tried. */

import { byId, element } from '../../browser/page/shared/elements.ts'
import type { PageModel, PagePort, PageServer } from '../http/page-messages.ts'
import { replaceKeepingFocus } from './focus.ts'
import { formatPort } from './input-shapes.ts'
import { versionKey } from './traffic-history.ts'

const fieldset = byId('versions', HTMLFieldSetElement)

/** `digits, version 1`. */
export function titleOf({ name, version }: PageModel): string {
  return `${name}, version ${version}`
}

/** Shows the models; `chosen` is marked, and `onChoice` is told of another one. */
export function showModels(
  { name, version, engine, models }: PageServer,
  chosen: PageModel | null,
  onChoice: (model: PageModel) => void,
): void {
  byId('server', HTMLElement).textContent =
    `${name} ${version}, engine ${engine}: ${models.length} ${models.length === 1 ? 'version' : 'versions'} in service.`
  const cards = models.map((model, i) => card(model, i, model === chosen, onChoice))
  const list = element('div', '', { className: 'cards' })
  list.append(...cards)
  const title = element('legend', 'Model and version to try')
  const shown = models.length === 0 ? element('p', 'No model is in service.') : list
  replaceKeepingFocus(fieldset, [title, shown], 'input:checked')
}

function card(
  model: PageModel,
  index: number,
  checked: boolean,
  onChoice: (model: PageModel) => void,
): HTMLElement {
  const input = element('input', '', {
    ...{ type: 'radio', name: 'version', value: versionKey(model), checked },
  })
  input.setAttribute('aria-describedby', `version-${index}`)
  input.addEventListener('change', () => onChoice(model))
  const label = element('label', '')
  label.append(input, element('span', titleOf(model)))
  const facts = element('div', '', { id: `version-${index}`, className: 'facts' })
  facts.append(ports('Inputs', model.inputs), ports('Outputs', model.outputs), ...remarks(model))
  const box = element('div', '', { className: 'card' })
  box.append(label, facts)
  return box
}

function ports(title: string, list: readonly PagePort[]): HTMLElement {
  const place = element('div', '')
  const items = element('ul', '')
  items.append(
    ...list.map(({ name, datatype, shape, anyRank }) => {
      const item = element('li', '')
      item.append(element('code', name), ` ${datatype} ${anyRank ? 'of any shape' : formatPort(shape)}`)
      return item
    }),
  )
  place.append(element('span', title, { className: 'note' }), items)
  return place
}

function remarks({ batched, ready, note, labels }: PageModel): HTMLElement[] {
  const lines = [
    batched ? 'Requests are batched along the first dimension.' : 'Requests are run one by one.',
    ...(labels === null ? [] : [`Names for ${labels.length} classes.`]),
    ...(ready ? [] : ['Not ready now.']),
    ...(note === null ? [] : [note]),
  ]
  return lines.map(line => element('p', line, { className: 'note' }))
}
