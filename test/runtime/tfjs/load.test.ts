/** Which tfjs package is taken, and what is said where none or a worse one is. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import util from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { gpuAdvice, missingCudaLibraries } from '../../../src/runtime/tfjs/cuda-libraries.ts'
import { loadTfjs, type NodeModule } from '../../../src/runtime/tfjs/load.ts'
import { errorOf } from '../../support/errors.ts'
import { tf } from '../../support/tfjs.ts'

const GPU = '@tensorflow/tfjs-node-gpu'

/** The JavaScript backend in the guise of a package whose TensorFlow sees a GPU or none. */
const guise = (isUsingGpuDevice: boolean) => ({ ...tf, backend: () => ({ isUsingGpuDevice }) }) as NodeModule

const there = (name: string, gpu = false) => ({ name, load: () => Promise.resolve(guise(gpu)) })
const broken = (name: string, message: string, code?: string) => ({
  name,
  load: () => Promise.reject(Object.assign(new Error(message), { code })),
})
const missing = (name: string) =>
  broken(name, `Cannot find package '${name}' imported from load.ts`, 'ERR_MODULE_NOT_FOUND')

test('the first package that is installed is taken', async () => {
  const { loaded } = await loadTfjs([
    missing(GPU),
    there('@tensorflow/tfjs-node'),
    there('@tensorflow/tfjs-core'),
  ])
  assert.is(loaded.package, '@tensorflow/tfjs-node')
  assert.is(loaded.gpu, false)
  assert.equal(loaded.notes, [])
})

test('a package that is installed and cannot be loaded is passed over, and told', async () => {
  const addon = broken(
    GPU,
    'The Node.js native addon module (tfjs_binding.node) can not be found at path: x\nmore',
  )
  const { loaded } = await loadTfjs([addon, there('@tensorflow/tfjs-core')])
  assert.is(loaded.package, '@tensorflow/tfjs-core')
  assert.equal(loaded.notes, [
    `${GPU} is installed but cannot be loaded: The Node.js native addon module (tfjs_binding.node) can not be found at path: x`,
  ])
})

test('the GPU package on the CPU says so', async () => {
  const { loaded } = await loadTfjs([there(GPU)])
  assert.is(loaded.gpu, false)
  assert.match(
    loaded.notes.join(),
    /tfjs-node-gpu runs on the CPU: its TensorFlow 2\.9\.1 needs .* CUDA 11\.2/,
  )
  assert.is((await loadTfjs([there(GPU, true)])).loaded.gpu, true)
})

test('without any package the commands that install one are given', async () => {
  const error = await errorOf(loadTfjs([missing(GPU), missing('@tensorflow/tfjs-core')]))
  assert.is(error.message, 'tfjs: no tfjs package is installed')
  assert.match(error.cure ?? '', /npm install @tensorflow\/tfjs-node-gpu@4\.22\.0/)
})

test('libraries that the loader does not find are named', () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-cuda-'))
  try {
    writeFileSync(join(folder, 'libcudnn.so.8'), '')
    const cache =
      '\tlibcuda.so.1 (libc6,x86-64) => /lib/libcuda.so.1\n\tlibcublas.so.11 (libc6) => /lib/libcublas.so.11\n'
    assert.equal(missingCudaLibraries([folder, ''], cache), [
      ...['libcudart.so.11.0', 'libcublasLt.so.11', 'libcufft.so.10', 'libcurand.so.10'],
      ...['libcusolver.so.11', 'libcusparse.so.11'],
    ])
  } finally {
    rmSync(folder, { recursive: true })
  }
  assert.match(gpuAdvice(['libcudnn.so.8']), /the dynamic loader does not find libcudnn\.so\.8$/)
  assert.match(gpuAdvice([]), /nvidia-smi/)
})

test('the functions of util that Node 23 removed are there for tfjs-node', async () => {
  const old = util as {
    isNullOrUndefined?: (value: unknown) => boolean
    isArray?: (value: unknown) => boolean
  }
  const { isNullOrUndefined, isArray } = old
  delete old.isNullOrUndefined
  delete old.isArray
  try {
    await loadTfjs([there('@tensorflow/tfjs-node')])
    assert.equal(
      [null, undefined, 0].map(value => old.isNullOrUndefined!(value)),
      [true, true, false],
    )
    assert.equal(
      [[], {}].map(value => old.isArray!(value)),
      [true, false],
    )
  } finally {
    Object.assign(old, { isNullOrUndefined, isArray })
  }
})

test.run()
