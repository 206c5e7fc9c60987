/** The page of the server: connects it with the list of models, the forms and the charts. */

import { byId } from '../../browser/page/shared/elements.ts'
import type { PageModel, PageServer, PageTraffic } from '../http/page-messages.ts'
import { Connection, wantsKey } from './connection.ts'
import { InputForm } from './input-form.ts'
import { showModels, titleOf } from './models-view.ts'
import { RunForm } from './run-form.ts'
import { TaskWorker } from './tasks.ts'
import { versionKey } from './traffic-history.ts'
import { TrafficView } from './traffic-view.ts'

const keySection = byId('key', HTMLElement)
const keyField = byId('key-field', HTMLInputElement)
const served = byId('served', HTMLElement)

const connection = new Connection(new URL('./', document.baseURI))
const worker = new TaskWorker(new URL('./worker.js', import.meta.url))
const input = new InputForm(connection, worker)
const run = new RunForm(connection, worker, input, askForKey)
const traffic = new TrafficView(readTraffic)

let server: PageServer | null = null
let chosen: PageModel | null = null
let keyGiven = false

function askForKey(message: string): void {
  keySection.hidden = false
  // Without a key there was none that could be wrong.
  byId('key-note', HTMLElement).textContent = keyGiven ? message : ''
  keyField.focus()
}

/** Asks for the models, and for a key where the server wants one. */
async function connect(): Promise<void> {
  try {
    const found = await connection.models()
    keySection.hidden = true
    served.hidden = false
    show(found)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    byId('server', HTMLElement).textContent = wantsKey(error)
      ? 'The server shows its models to those who have a key.'
      : `The server cannot be asked what it has: ${message}. Reload the page to try again.`
    if (wantsKey(error)) askForKey(message)
  }
}

/** The chosen version stays chosen while it is in service. */
function show(found: PageServer): void {
  if (JSON.stringify(found) === JSON.stringify(server)) return
  server = found
  const { models } = found
  chosen =
    models.find(model => chosen !== null && versionKey(model) === versionKey(chosen)) ?? models[0] ?? null
  showModels(found, chosen, choose)
  if (chosen === null) traffic.setModel(null)
  else choose(chosen)
}

function choose(model: PageModel): void {
  chosen = model
  byId('try-title', HTMLElement).textContent = `Try ${titleOf(model)}`
  input.setModel(model)
  run.setModel(model, server?.models ?? [])
  traffic.setModel(model)
}

/** Counters; of other versions than the page knows, the models are asked for again. */
async function readTraffic(): Promise<PageTraffic> {
  const counters = await connection.traffic()
  const known = server?.models.map(versionKey).join()
  if (counters.versions.map(versionKey).join() !== known) await connect()
  return counters
}

byId('key-form', HTMLFormElement).addEventListener('submit', event => {
  event.preventDefault()
  connection.useKey(keyField.value)
  keyGiven = true
  keyField.value = ''
  void connect()
})

void connect()
