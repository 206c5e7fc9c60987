/** The page of the server: connects it with the list of models, the forms and the charts. */

import { byId } from '../../browser/page/shared/elements.ts'
import type { PageModel, PageServer, PageTraffic, VersionTraffic } from '../http/page-messages.ts'
import { Connection, wantsKey } from './connection.ts'
import { InputForm } from './input-form.ts'
import { showModels, titleOf } from './models-view.ts'
import { RunForm } from './run-form.ts'
import { successorOf } from './succession.ts'
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
/** Where a person was when a key was asked for. */
let before: Element | null = null

function askForKey(message: string): void {
  if (document.activeElement !== keyField) before = document.activeElement
  keySection.hidden = false
  // Without a key there was none that could be wrong.
  byId('key-note', HTMLElement).textContent = keyGiven ? message : ''
  keyField.focus()
}

/** Asks for the models, and for a key where the server wants one. */
async function connect(): Promise<void> {
  try {
    const found = await connection.models()
    served.hidden = false
    show(found)
    if (!keySection.hidden) keyAccepted()
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    byId('server', HTMLElement).textContent = wantsKey(error)
      ? 'The server shows its models to those who have a key.'
      : `The server cannot be asked what it has: ${message}. Reload the page to try again.`
    if (wantsKey(error)) askForKey(message)
  }
}

function keyAccepted(): void {
  const inKey = keySection.contains(document.activeElement)
  keySection.hidden = true
  run.forgetFailure()
  if (!inKey) return
  const place = before instanceof HTMLElement && before !== document.body ? before : null
  ;(place ?? byId('models-title', HTMLElement)).focus()
}

/** The chosen version stays chosen while it is in service; what takes its place is told. */
function show(found: PageServer): void {
  if (JSON.stringify(found) === JSON.stringify(server)) return
  const last = chosen
  server = found
  choose(successorOf(last, found.models))
  showModels(found, chosen, choose)
  const note = byId('served-note', HTMLElement)
  if (last === null || (chosen !== null && versionKey(last) === versionKey(chosen))) note.textContent = ''
  else {
    const next = chosen === null ? 'No other is.' : `${titleOf(chosen)} is chosen now.`
    note.textContent = `${titleOf(last)} is no longer in service. ${next}`
  }
}

function choose(model: PageModel | null): void {
  chosen = model
  byId('try-title', HTMLElement).textContent = model === null ? 'Try it' : `Try ${titleOf(model)}`
  input.setModel(model)
  run.setModel(model, server?.models ?? [])
  traffic.setModel(model)
}

/** Counters; of other versions than the page knows, the models are asked for again. */
async function readTraffic(): Promise<PageTraffic> {
  const counters = await connection.traffic()
  if (loadsOf(counters.versions) !== loadsOf(server?.models ?? [])) await connect()
  return counters
}

function loadsOf(versions: readonly Pick<VersionTraffic, 'name' | 'version' | 'loaded'>[]): string {
  return versions.map(version => `${versionKey(version)}:${version.loaded}`).join()
}

byId('key-form', HTMLFormElement).addEventListener('submit', event => {
  event.preventDefault()
  connection.useKey(keyField.value)
  keyGiven = true
  keyField.value = ''
  void connect()
})

void connect()
