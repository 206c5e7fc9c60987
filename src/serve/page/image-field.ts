/** An image that a person drops or chooses, and how it is to become a tensor. */

import { byId, element } from '../../browser/page/shared/elements.ts'
import type { PresetName } from '../../data/transforms.ts'
import {
  describeTransforms,
  presetsFor,
  transformsOf,
  type ImageChoice,
  type ImagePort,
} from './input-shapes.ts'

const PRESET_TITLES: Readonly<Record<PresetName, string>> = {
  imagenet: 'ImageNet',
  mnist: 'MNIST',
  none: 'none: pixels from 0 to 1',
}

const drop = byId('drop', HTMLElement)
const input = byId('image-file', HTMLInputElement)
const preview = byId('preview', HTMLImageElement)
const preset = byId('preset', HTMLSelectElement)
const height = byId('height', HTMLInputElement)
const width = byId('width', HTMLInputElement)

export class ImageField {
  #file: File | null = null
  #port: ImagePort | null = null

  constructor() {
    input.addEventListener('change', () => {
      const file = input.files?.[0]
      if (file) this.#take(file)
    })
    for (const field of [preset, height, width]) field.addEventListener('change', () => this.#describe())
    watchDrops(file => this.#take(file))
  }

  get file(): File | null {
    return this.#file
  }

  /** Throws what is wrong with it. */
  get choice(): ImageChoice {
    return {
      preset: preset.value === '' ? null : (preset.value as PresetName),
      height: sideOf(height, this.#port?.input.height),
      width: sideOf(width, this.#port?.input.width),
    }
  }

  setPort(port: ImagePort): void {
    this.#port = port
    const names = presetsFor(port)
    const before = preset.value
    preset.replaceChildren(
      element('option', "as the model's input suggests", { value: '' }),
      ...names.map(name => element('option', PRESET_TITLES[name], { value: name })),
    )
    preset.value = names.includes(before as PresetName) ? before : ''
    byId('preset-label', HTMLElement).hidden = names.length === 0
    byId('height-label', HTMLElement).hidden = port.input.height !== null
    byId('width-label', HTMLElement).hidden = port.input.width !== null
    this.#describe()
  }

  #take(file: File): void {
    this.#file = file
    URL.revokeObjectURL(preview.src)
    preview.src = URL.createObjectURL(file)
    preview.alt = `The chosen image: ${file.name}`
    preview.hidden = false
    this.#describe()
  }

  #describe(): void {
    if (this.#port === null) return
    const note = byId('image-note', HTMLElement)
    try {
      note.textContent = `${this.#file?.name ?? 'No image yet'}: ${describePort(this.#port, this.choice)}`
    } catch (error) {
      note.textContent = error instanceof Error ? error.message : String(error)
    }
  }
}

function describePort(port: ImagePort, choice: ImageChoice): string {
  const { count } = port
  const copies = count === 1 ? '' : ` It is given ${count} times, which is what the model takes.`
  return `${describeTransforms(transformsOf(port, choice))}.${copies}`
}

/** `given`: what the model says, where it says something. */
function sideOf(
  { id, valueAsNumber: value, max }: HTMLInputElement,
  given: number | null | undefined,
): number {
  if (typeof given === 'number') return given
  if (Number.isInteger(value) && value > 0 && value <= Number(max)) return value
  throw new Error(`${id}: expected a whole number of pixels from 1 to ${max}`)
}

/** A file beside the zone would replace the page, so that it takes drops anywhere. */
function watchDrops(take: (file: File) => void): void {
  document.addEventListener('dragover', event => {
    event.preventDefault()
    drop.classList.toggle('over', event.target instanceof Node && drop.contains(event.target))
  })
  document.addEventListener('dragleave', () => drop.classList.remove('over'))
  document.addEventListener('drop', event => {
    event.preventDefault()
    drop.classList.remove('over')
    const file = event.dataTransfer?.files[0]
    if (file && drop.contains(event.target as Node)) take(file)
  })
}
