/**
 * The tfjs engine in this thread, where tests can count tensors: on the plain JavaScript backend, or on the package that
 * SWA_ONNX_TEST_TFJS names (`@tensorflow/tfjs-node`, or a path to its main file).
 */

import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { tfjsEngineOf } from '../../src/runtime/tfjs/engine.ts'
import { importPackage, loadTfjs, PACKAGES, type Candidate } from '../../src/runtime/tfjs/load.ts'
import type { TfModule } from '../../src/runtime/tfjs/tf.ts'

const named = process.env['SWA_ONNX_TEST_TFJS'] ?? ''

const candidates: readonly Candidate[] =
  named === ''
    ? PACKAGES.filter(({ name }) => name === '@tensorflow/tfjs-core')
    : [{ name: named, load: () => importPackage(named) }]

const loaded = await loadTfjs(candidates)

export const tf: TfModule = loaded.tf

/** `cpu` or `tensorflow`. */
export const backendName = loaded.backend.name

export const engine: Engine = await tfjsEngineOf(tf, cpuEngine())

/** Tensors that tfjs holds. */
export function tensorCount(): number {
  return tf.memory().numTensors
}
