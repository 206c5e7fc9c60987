/** Which of the libraries that tfjs-node-gpu's TensorFlow loads when it starts are missing: it says so to nobody. */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** What libtensorflow 2.9.1 opens on Linux: the driver, CUDA 11.2 (any 11.x has these names) and cuDNN 8. */
const LIBRARIES = [
  'libcuda.so.1',
  'libcudart.so.11.0',
  'libcublas.so.11',
  'libcublasLt.so.11',
  'libcufft.so.10',
  'libcurand.so.10',
  'libcusolver.so.11',
  'libcusparse.so.11',
  'libcudnn.so.8',
]

/** Names of the libraries that the dynamic loader does not find. */
export function missingCudaLibraries(
  folders: readonly string[] = (process.env['LD_LIBRARY_PATH'] ?? '').split(':'),
  known: string = loaderCache(),
): string[] {
  return LIBRARIES.filter(
    name =>
      !known.includes(`${name} `) && !folders.some(folder => folder !== '' && existsSync(join(folder, name))),
  )
}

/** The list of libraries in the dynamic loader's cache; empty where there is no such list. */
function loaderCache(): string {
  const path = `${process.env['PATH'] ?? ''}:/sbin:/usr/sbin`
  const found = spawnSync('ldconfig', ['-p'], { encoding: 'utf8', env: { ...process.env, PATH: path } })
  return found.error ? '' : found.stdout
}

/** Why tfjs-node-gpu runs on the CPU, and what helps. */
export function gpuAdvice(
  missing: readonly string[] = process.platform === 'linux' ? missingCudaLibraries() : [],
): string {
  const needs =
    'its TensorFlow 2.9.1 needs an NVIDIA driver, CUDA 11.2 and cuDNN 8.1 (CUDA 12 does not serve)'
  const lacks =
    missing.length > 0
      ? `the dynamic loader does not find ${missing.join(', ')}`
      : "the libraries are there, so look at the driver (`nvidia-smi`) and at TensorFlow's own messages (TF_CPP_MIN_LOG_LEVEL=0)"
  return `tfjs-node-gpu runs on the CPU: ${needs}; ${lacks}`
}
