/** What is done with an input: a run on the server, a check in this browser, a comparison of two versions. */

import { byId, element } from '../../browser/page/shared/elements.ts'
import { fromWire, toWire, type WireTensor } from '../../runtime/ort/messages.ts'
import { formatBytes } from '../../util/format.ts'
import type { PageModel } from '../http/page-messages.ts'
import { fittingLabels, topClasses } from './classes.ts'
import { wantsKey, type Connection } from './connection.ts'
import { showCheck, showComparison } from './difference-view.ts'
import type { InputForm } from './input-form.ts'
import { sameInputs } from './input-shapes.ts'
import { titleOf } from './models-view.ts'
import { className, formatShare, scoresOfOutput, showOutputs, type Answered } from './result-view.ts'
import type { TaskWorker } from './tasks.ts'
import type { Tensors } from './tensors.ts'
import { versionKey } from './traffic-history.ts'

const result = byId('result', HTMLElement)
const status = byId('status', HTMLElement)
const failure = byId('error', HTMLElement)
const place = byId('outputs', HTMLElement)
const other = byId('other', HTMLSelectElement)

/** What is said and shown of an action. */
interface Outcome {
  readonly says: string
  readonly shows: readonly HTMLElement[]
}

export class RunForm {
  readonly #connection: Connection
  readonly #worker: TaskWorker
  readonly #input: InputForm
  readonly #onKeyWanted: (message: string) => void
  #model: PageModel | null = null
  #others: readonly PageModel[] = []
  #busy = false

  constructor(
    connection: Connection,
    worker: TaskWorker,
    input: InputForm,
    onKeyWanted: (message: string) => void,
  ) {
    this.#connection = connection
    this.#worker = worker
    this.#input = input
    this.#onKeyWanted = onKeyWanted
    byId('input-form', HTMLFormElement).addEventListener('submit', event => {
      event.preventDefault()
      void this.#act('running on the server…', (model, inputs) => this.#run(model, inputs))
    })
    byId('check', HTMLButtonElement).addEventListener('click', () => {
      void this.#act('running on the server and in this browser…', (model, inputs) =>
        this.#check(model, inputs),
      )
    })
    byId('compare', HTMLButtonElement).addEventListener('click', () => {
      void this.#act('running on both versions…', (model, inputs) => this.#compare(model, inputs))
    })
  }

  /** The chosen version, and all that are in service. */
  setModel(model: PageModel | null, all: readonly PageModel[]): void {
    this.#model = model
    this.#others = all.filter(one => model !== null && one !== model && sameInputs(one.inputs, model.inputs))
    const before = other.value
    other.replaceChildren(
      ...this.#others.map(one => element('option', titleOf(one), { value: versionKey(one) })),
    )
    if (this.#others.some(one => versionKey(one) === before)) other.value = before
    const none = this.#others.length === 0
    other.disabled = none
    byId('compare-note', HTMLElement).textContent = none
      ? 'No other version in service takes the same inputs.'
      : 'The same input on both versions, beside each other.'
    byId('check-note', HTMLElement).textContent = model && (obstacleOf(model) ?? checkNote(model))
  }

  /** What went wrong has been put right. */
  forgetFailure(): void {
    failure.hidden = true
  }

  /** Buttons stay enabled meanwhile: a focused one that is disabled would lose a person's place. */
  async #act(doing: string, action: (model: PageModel, inputs: Tensors) => Promise<Outcome>): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    result.setAttribute('aria-busy', 'true')
    this.forgetFailure()
    try {
      const model = this.#model
      if (model === null) throw new Error('no model is in service')
      status.textContent = `${titleOf(model)}: ${doing}`
      const { tensors, remark } = await this.#input.read()
      const { says, shows } = await action(model, tensors)
      place.replaceChildren(...shows)
      status.textContent = says + remark
    } catch (error) {
      place.replaceChildren()
      status.textContent = 'There is no result.'
      failure.hidden = false
      failure.textContent = error instanceof Error ? error.message : String(error)
      if (wantsKey(error)) this.#onKeyWanted(failure.textContent)
    } finally {
      this.#busy = false
      result.removeAttribute('aria-busy')
    }
  }

  async #run(model: PageModel, inputs: Tensors): Promise<Outcome> {
    const { outputs, ms } = await this.#connection.infer(model, inputs)
    const answered = { model, outputs }
    return {
      says: `${titleOf(model)} answered in ${formatMs(ms)}.${bestClass(answered)}`,
      shows: showOutputs(answered),
    }
  }

  async #check(model: PageModel, inputs: Tensors): Promise<Outcome> {
    const obstacle = obstacleOf(model)
    if (obstacle !== null || model.model === null) throw new Error(obstacle ?? '')
    const server = await this.#connection.infer(model, inputs)
    const here = await this.#worker.do('run', {
      model: this.#connection.source(model.model.url),
      dataFiles: model.dataFiles.map(({ name, url }) => ({ name, ...this.#connection.source(url) })),
      feeds: [...inputs].map(([name, tensor]): [string, WireTensor] => [name, toWire(tensor)]),
    })
    const outputs = new Map(here.outputs.map(([name, tensor]) => [name, fromWire(tensor)]))
    const { agrees, blocks } = showCheck(server.outputs, outputs, inputs)
    const times = `${formatMs(server.ms)} on the server with the way there, ${formatMs(here.ms)} here`
    return {
      says: `${titleOf(model)}: this browser ${agrees ? 'agrees with' : 'differs from'} the server (${times}).`,
      shows: blocks,
    }
  }

  async #compare(model: PageModel, inputs: Tensors): Promise<Outcome> {
    const second = this.#others.find(one => versionKey(one) === other.value)
    if (second === undefined) throw new Error('no other version in service takes the same inputs')
    // One after the other: neither waits for the other one's processors.
    const first = await this.#connection.infer(model, inputs)
    const then = await this.#connection.infer(second, inputs)
    return {
      says: `${titleOf(model)} answered in ${formatMs(first.ms)}, ${titleOf(second)} in ${formatMs(then.ms)}.`,
      shows: showComparison({ model, outputs: first.outputs }, { model: second, outputs: then.outputs }),
    }
  }
}

/** Why a model cannot be run in the browser; null where it can. */
function obstacleOf({ model, inputs }: PageModel): string | null {
  if (model === null) return 'This server does not share its models: start it with --share-models.'
  if (inputs.some(({ datatype }) => datatype === 'BF16')) {
    return 'Inputs of type BF16 are not possible in a browser: its runtime has no such tensors.'
  }
  return null
}

function checkNote({ model, dataFiles }: PageModel): string {
  const bytes = dataFiles.reduce((sum, file) => sum + file.bytes, model?.bytes ?? 0)
  return `Loads the model (${formatBytes(bytes)}) into this page, runs it here too and compares the results.`
}

/** ` Most likely: 7 (93.00 %).`, of a single sample. */
function bestClass(answered: Answered): string {
  const { model, outputs } = answered
  for (const name of outputs.keys()) {
    const scores = scoresOfOutput(answered, name)
    if (scores?.length !== 1) continue
    const [best] = topClasses(scores, 1)
    const labels = fittingLabels(outputs, model.labels)
    return ` Most likely: ${className(best!, labels)}, ${formatShare(scores[0]!.probabilities[best!]!)}.`
  }
  return ''
}

function formatMs(ms: number): string {
  return `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`
}
