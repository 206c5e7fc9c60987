/** Finds a tfjs package for Node: with CUDA, with TensorFlow on the CPU, or in plain JavaScript. Runs in tfjs's thread. */

import util from 'node:util'
import { EnvironmentError, messageOf } from '../../util/errors.ts'
import { gpuAdvice } from './cuda-libraries.ts'
import type { Loaded } from './loaded.ts'
import type { Tfjs } from './model.ts'
import { backendOf, type TfModule } from './tf.ts'

/** What the packages for Node have beside `TfModule`. */
export interface NodeModule extends TfModule {
  backend(): { readonly isUsingGpuDevice?: boolean }
  setBackend(name: string): Promise<boolean>
  /** Switches warnings off: one of them greets whoever runs the JavaScript backend in Node. */
  enableProdMode(): void
}

const CORE = '@tensorflow/tfjs-core'
const GPU = '@tensorflow/tfjs-node-gpu'
const VERSION = '4.22.0'

/** A package and how it is loaded. */
export interface Candidate {
  readonly name: string
  readonly load: () => Promise<NodeModule>
}

/** Best first. */
export const PACKAGES: readonly Candidate[] = [
  { name: GPU, load: () => importPackage(GPU) },
  { name: '@tensorflow/tfjs-node', load: () => importPackage('@tensorflow/tfjs-node') },
  {
    name: CORE,
    async load() {
      const tf = await importPackage(CORE)
      await importPackage('@tensorflow/tfjs-backend-cpu')
      tf.enableProdMode()
      await tf.setBackend('cpu')
      return tf
    },
  },
]

/** What installs an engine: with a GPU, or without. */
export const TFJS_CURE = `run \`npm install ${GPU}@${VERSION}\` (Linux or Windows with CUDA 11.2 and cuDNN 8.1), or \`npm install @tensorflow/tfjs-node@${VERSION}\` (CPU), or \`npm install ${CORE}@${VERSION} @tensorflow/tfjs-backend-cpu@${VERSION}\` (plain JavaScript, slow)`

/** Loads the first package that can be loaded; what is installed and cannot be is told in the notes. */
export async function loadTfjs(
  packages: readonly Candidate[] = PACKAGES,
): Promise<Tfjs & { readonly loaded: Loaded }> {
  restoreUtil()
  const broken: string[] = []
  for (const { name, load } of packages) {
    let tf: NodeModule
    try {
      tf = await load()
    } catch (error) {
      if (!isMissing(error)) broken.push(`${name} is installed but cannot be loaded: ${firstLine(error)}`)
      continue
    }
    const backend = await backendOf(tf)
    const gpu = tf.backend().isUsingGpuDevice === true
    const advice = name === GPU && !gpu ? [gpuAdvice()] : []
    return { tf, backend, loaded: { package: name, backend, gpu, notes: [...broken, ...advice] } }
  }
  const found = broken.length > 0 ? broken.join('; ') : 'no tfjs package is installed'
  throw new EnvironmentError(`tfjs: ${found}`, { cure: TFJS_CURE })
}

/** Node 23 removed two functions of `util` that tfjs-node 4.22 calls. */
function restoreUtil(): void {
  const old = util as {
    isNullOrUndefined?: (value: unknown) => boolean
    isArray?: (value: unknown) => boolean
  }
  old.isNullOrUndefined ??= value => value === null || value === undefined
  old.isArray ??= value => Array.isArray(value)
}

/** The packages are CommonJS: their exports are the default export too. */
export async function importPackage(name: string): Promise<NodeModule> {
  const module = (await import(name)) as NodeModule & { default?: NodeModule }
  return module.default ?? module
}

function isMissing(error: unknown): boolean {
  const { code } = error as { code?: string }
  return code === 'ERR_MODULE_NOT_FOUND' && /@tensorflow\//.test(messageOf(error))
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0]!
}
