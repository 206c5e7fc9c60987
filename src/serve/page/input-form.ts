/** The form for an input: an image, a text or JSON, whichever the chosen model can be given. */

import { byId, element } from '../../browser/page/shared/elements.ts'
import { fromWire } from '../../runtime/ort/messages.ts'
import type { PageModel } from '../http/page-messages.ts'
import type { Connection } from './connection.ts'
import { replaceKeepingFocus } from './focus.ts'
import { ImageField } from './image-field.ts'
import { imagePortOf, takesText, transformsOf } from './input-shapes.ts'
import { exampleJson, parseJsonInputs } from './json-input.ts'
import type { TaskWorker } from './tasks.ts'
import type { Tensors } from './tensors.ts'
import { cutRemark, fixedLength, textTensors } from './text-input.ts'

type Kind = 'image' | 'text' | 'json'

const TITLES: Readonly<Record<Kind, string>> = { image: 'Image', text: 'Text', json: 'JSON' }

/** What was entered, as tensors. */
export interface Entered {
  readonly tensors: Tensors
  /** What a person should know about how they were made; empty: nothing. */
  readonly remark: string
}

export class InputForm {
  readonly #connection: Connection
  readonly #worker: TaskWorker
  readonly #image = new ImageField()
  readonly #text = byId('text', HTMLTextAreaElement)
  readonly #json = byId('json', HTMLTextAreaElement)
  #model: PageModel | null = null
  #kind: Kind = 'json'
  /** What a person chose, for models that it suits. */
  #wanted: Kind | null = null

  constructor(connection: Connection, worker: TaskWorker) {
    this.#connection = connection
    this.#worker = worker
    byId('example', HTMLButtonElement).addEventListener('click', () => {
      this.#fillExample()
      this.#json.focus()
    })
  }

  /** Shows what `model` can be given. What was entered stays where it fits the model. */
  setModel(model: PageModel | null): void {
    const before = this.#model
    this.#model = model
    if (model === null) return
    const kinds = kindsOf(model)
    this.#kind = kinds.find(kind => kind === this.#wanted) ?? kinds[0]!
    this.#showKinds(kinds)
    const port = imagePortOf(model.inputs)
    if (port !== null) this.#image.setPort(port)
    const inputs = model.inputs.map(({ name }) => name)
    byId('text-note', HTMLElement).textContent = `Becomes ${inputs.join(', ')} by the model's tokenizer.`
    byId('json-note', HTMLElement).textContent =
      'An array of inputs with name, datatype, shape and data, as in a request of the Open Inference Protocol' +
      (model.inputs.length === 1 ? '; or only the numbers, nested as the shape says.' : '.')
    if (JSON.stringify(before?.inputs) !== JSON.stringify(model.inputs)) this.#fillExample()
  }

  /** What was entered, as the model wants it; throws what is missing or wrong. */
  async read(): Promise<Entered> {
    const model = this.#model
    if (model === null) throw new Error('no model is in service')
    if (this.#kind === 'image') return this.#readImage(model)
    if (this.#kind === 'text') return this.#readText(model)
    return { tensors: parseJsonInputs(this.#json.value, model.inputs), remark: '' }
  }

  async #readImage({ inputs }: PageModel): Promise<Entered> {
    const port = imagePortOf(inputs)
    const file = this.#image.file
    if (port === null || file === null) throw new Error('choose an image first')
    const transforms = transformsOf(port, this.#image.choice)
    const { name, datatype, count } = port
    const wire = await this.#worker.do('image', { file, name: file.name, transforms, datatype, count })
    return { tensors: new Map([[name, fromWire(wire)]]), remark: '' }
  }

  async #readText({ inputs, tokenizer }: PageModel): Promise<Entered> {
    const text = this.#text.value
    if (text.trim() === '') throw new Error('enter a text first')
    if (tokenizer === null) throw new Error('internal: text without a tokenizer')
    const { url, configUrl } = tokenizer
    const tokens = await this.#worker.do('tokenize', {
      ...{ text, length: fixedLength(inputs) },
      tokenizer: this.#connection.source(url),
      config: configUrl === null ? null : this.#connection.source(configUrl),
    })
    return { tensors: textTensors(tokens, inputs), remark: cutRemark(tokens) }
  }

  #showKinds(kinds: readonly Kind[]): void {
    const choices = kinds.map(kind => {
      const input = element('input', '', { type: 'radio', name: 'kind', value: kind })
      input.checked = kind === this.#kind
      input.addEventListener('change', () => {
        this.#kind = this.#wanted = kind
        this.#showPanel()
      })
      const label = element('label', '')
      label.append(input, TITLES[kind])
      return label
    })
    const group = byId('kinds', HTMLElement)
    replaceKeepingFocus(group, choices, 'input:checked')
    group.hidden = kinds.length === 1
    this.#showPanel()
  }

  #showPanel(): void {
    for (const kind of Object.keys(TITLES)) byId(`${kind}-panel`, HTMLElement).hidden = kind !== this.#kind
  }

  #fillExample(): void {
    const example = this.#model && exampleJson(this.#model.inputs)
    this.#json.value = example ?? ''
    if (example === null && this.#model !== null)
      byId('json-note', HTMLElement).textContent += ' An example would be too long to write out.'
  }
}

function kindsOf({ inputs, tokenizer }: PageModel): Kind[] {
  return [
    ...(imagePortOf(inputs) === null ? [] : (['image'] as const)),
    ...(tokenizer !== null && takesText(inputs) ? (['text'] as const) : []),
    'json',
  ]
}
