/** The form: from what a person chose to a request for the worker. */

import type { EngineReport, ImageFile, PresetName, WebEngineName } from '../index.ts'
import { byId, element } from './shared/elements.ts'
import type { DataChoice, ModelChoice, StartRequest } from './messages.ts'

const form = byId('form', HTMLFormElement)
const modelFile = byId('model-file', HTMLInputElement)
const dataFolder = byId('data-folder', HTMLInputElement)

const ENGINE_TITLES: Readonly<Record<string, string>> = { webgpu: 'WebGPU', wasm: 'WebAssembly' }

/** What is chosen in a group of radio buttons. */
function chosen(name: string): string {
  return form.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? ''
}

function choose(name: string, value: string): void {
  for (const input of form.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`))
    input.checked = input.value === value
}

function number(id: string): number {
  return byId(id, HTMLInputElement).valueAsNumber
}

/** Chosen files choose their radio button; `onModel` is told when the model is another one. */
export function watchForm(onModel: () => void): void {
  modelFile.addEventListener('change', () => {
    if (modelFile.files?.length) choose('model', 'file')
    onModel()
  })
  for (const input of form.querySelectorAll('input[name="model"]')) input.addEventListener('change', onModel)
  dataFolder.addEventListener('change', () => {
    if (!dataFolder.files?.length) return
    choose('data', 'folder')
    byId('data-note', HTMLElement).textContent = `${dataFolder.files.length} files chosen`
  })
}

/** The chosen model; null while no file is. */
export function chosenModel(): ModelChoice | null {
  if (chosen('model') === 'demo') return { kind: 'demo' }
  const file = modelFile.files?.[0]
  return file ? { kind: 'file', file } : null
}

function chosenData(): DataChoice | null {
  if (chosen('data') === 'digits') return { kind: 'digits' }
  const files = [...(dataFolder.files ?? [])]
  const first = files[0]
  if (!first) return null
  // `folder/class/name.jpg`: what the worker wants begins below the folder.
  const images = files.map((file): ImageFile => {
    return { path: file.webkitRelativePath.split('/').slice(1).join('/'), blob: file }
  })
  return { kind: 'images', name: first.webkitRelativePath.split('/')[0] ?? 'images', files: images }
}

/** The request, or what is missing. */
export function readForm(): StartRequest | string {
  const model = chosenModel()
  if (!model) return 'Choose an ONNX file, or the small digit classifier.'
  const data = chosenData()
  if (!data) return 'Choose a folder with a folder of images for each class, or the digits.'
  const preset = byId('preset', HTMLSelectElement).value as PresetName | ''
  const limit = number('limit')
  const lr = number('lr')
  return {
    model,
    data,
    engine: chosen('engine') as WebEngineName | 'auto',
    options: {
      epochs: number('epochs'),
      batchSize: number('batch-size'),
      seed: number('seed'),
      ...(Number.isNaN(limit) ? {} : { limit }),
      head: byId('head', HTMLSelectElement).value as 'auto' | 'reinit',
      images: preset === '' ? {} : { preset },
      schedule: {
        lr,
        stepping: 'batch',
        base: { kind: 'constant' },
        swa: {
          start: `${number('swa-start') / 100}dur`,
          rate: { kind: 'swalr', lr: number('swa-lr'), strategy: 'cos' },
          from: 'anneal',
        },
      },
    },
  }
}

/** One radio button for each engine, with what it would run on or why it is not there. */
export function showEngines(reports: readonly EngineReport[], preferred: WebEngineName | null): void {
  const rows = reports.flatMap(({ name, works, found, cure }) => {
    const input = element('input', '', { type: 'radio', name: 'engine', value: name })
    input.disabled = !works
    input.checked = name === preferred
    const label = element('label', '')
    label.append(input, ` ${ENGINE_TITLES[name] ?? name}: ${found}`)
    return cure === null
      ? [label]
      : [label, element('p', `To cure it: ${cure}.`, { className: 'note nested' })]
  })
  const fieldset = byId('engines', HTMLFieldSetElement)
  fieldset.replaceChildren(element('legend', 'Engine'), ...rows)
}
