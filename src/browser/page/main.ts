/** The page: connects form, worker and view. */

import { chosenModel, readForm, showEngines, watchForm } from './form.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { byId } from './shared/elements.ts'
import { startWorker } from './shared/start-worker.ts'
import { beginRun, showEvent, showFailure, showResult } from './view.ts'

const start = byId('start', HTMLButtonElement)
const stop = byId('stop', HTMLButtonElement)
const modelNote = byId('model-note', HTMLElement)

const worker = startWorker(new URL('worker.js', document.baseURI), 'training')

function send(message: ToWorker): void {
  worker.postMessage(message)
}

function setRunning(running: boolean): void {
  start.disabled = running
  stop.disabled = !running
}

function inspect(): void {
  const model = chosenModel()
  modelNote.textContent = ''
  modelNote.classList.remove('bad')
  if (model) send({ kind: 'inspect', model })
}

const HANDLERS: { [K in FromWorker['kind']]: (message: Extract<FromWorker, { kind: K }>) => void } = {
  engines: ({ reports, preferred }) => showEngines(reports, preferred),
  inspected: ({ summary, obstacles }) => {
    modelNote.classList.toggle('bad', obstacles.length > 0)
    modelNote.textContent = obstacles.length === 0 ? summary : obstacles.join(' ')
  },
  event: ({ event }) => showEvent(event),
  done: ({ result }) => {
    setRunning(false)
    showResult(result)
  },
  failed: ({ message, cure, stopped }) => {
    setRunning(false)
    showFailure(message, cure, stopped)
  },
}

worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
  const handle = HANDLERS[data.kind] as (message: FromWorker) => void
  handle(data)
})
worker.addEventListener('error', event => {
  setRunning(false)
  showFailure(
    `the worker failed: ${event.message || 'it could not be started'}`,
    'reload the page; use a recent browser',
    false,
  )
})

byId('form', HTMLFormElement).addEventListener('submit', event => {
  event.preventDefault()
  const request = readForm()
  if (typeof request === 'string') {
    showFailure(request, null, false)
    return
  }
  setRunning(true)
  beginRun()
  send({ kind: 'start', request })
})
stop.addEventListener('click', () => send({ kind: 'stop' }))

watchForm(inspect)
send({ kind: 'probe' })
inspect()
